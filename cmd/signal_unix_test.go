//go:build unix

package cmd

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A command that waits for an engine is ended by the first signal, and says so.
func TestASignalEndsACommand(t *testing.T) {
	for signal, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		e := &fakeEngine{stuck: make(chan struct{})}
		if err := e.start(); err != nil {
			t.Fatal(err)
		}
		defer e.stop()
		dir := t.TempDir()
		c := exec.CommandContext(t.Context(), "skep", "nodes", "ls") // this test binary: see TestMain
		c.Env = []string{
			"DOCKER_HOST=" + e.host, "XDG_CONFIG_HOME=" + filepath.Join(dir, "config"), "XDG_STATE_HOME=" + filepath.Join(dir, "state"),
			"GORACE=atexit_sleep_ms=0", "GOCOVERDIR=" + dir,
		}
		var out, told bytes.Buffer
		c.Stdout, c.Stderr = &out, &told
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-e.stuck:
		case <-time.After(time.Minute):
			t.Fatal("the engine was never asked")
		}
		if err := c.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		if code := c.ProcessState.ExitCode(); code != want {
			t.Errorf("%v: exit code %d, not %d", signal, code, want)
		}
		if out.Len() > 0 || strings.Count(told.String(), "\n") != 1 || !strings.HasPrefix(told.String(), "skep: ") {
			t.Errorf("%v: stdout %q, stderr %q", signal, &out, &told)
		}
	}
}

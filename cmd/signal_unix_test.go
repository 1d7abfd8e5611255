//go:build unix

package cmd

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A command that waits for an engine is ended by the first signal, and says so,
// even where that comes twice, as of timeout(1).
func TestASignalEndsACommand(t *testing.T) {
	// Whoever runs the tests under nohup has them ignore it, and the command would
	// do so, too: one that is caught here is not ignored there.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		e := &fakeEngine{stuck: make(chan struct{})}
		if err := e.start(); err != nil {
			t.Fatal(err)
		}
		defer e.stop()
		dir := t.TempDir()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, "skep", "nodes", "ls") // this test binary: see TestMain
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
		if err := c.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		_ = c.Process.Signal(sig) // it may be gone
		_ = c.Wait()
		if code := c.ProcessState.ExitCode(); code != want {
			t.Errorf("%v: exit code %d, not %d", sig, code, want)
		}
		if out.Len() > 0 || strings.Count(told.String(), "\n") != 1 || !strings.HasPrefix(told.String(), "skep: ") {
			t.Errorf("%v: stdout %q, stderr %q", sig, &out, &told)
		}
	}
}

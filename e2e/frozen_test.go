package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A node that freezes while its neighbour passes an image on to it is named, and
// does not hold up the neighbour. The next run sends to that node alone.
func TestFrozenNeighbour(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	env := u.environment("frozen")
	u.must("nodes", "create", "-m", "1", "-w", "1", "--region", "eu", env)
	manager, worker := env+"-manager-1", env+"-worker-1"
	source := filepath.Join(u.home, "large")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]io.Reader{
		"go.mod": strings.NewReader("module large\n\ngo 1.26\n"), "main.go": strings.NewReader("package main\n\nfunc main() {}\n"),
		"ballast": io.LimitReader(rand.Reader, 200<<20),
	} {
		f, err := os.Create(filepath.Join(source, name))
		if err == nil {
			_, err = io.Copy(f, text)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	build := []string{"app", "build", "-a", filepath.Join(source, "ballast"), source, "large:1", env}

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c := u.limited(ctx, build...)
	errs, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	told := ""
	lines := bufio.NewReader(errs)
	for !strings.Contains(told, "sending image") {
		line, err := lines.ReadString('\n')
		told += line
		if err != nil {
			t.Fatalf("%v: %s", err, told)
		}
	}
	docker(t, "pause", worker)
	t.Cleanup(func() { _, _ = output("docker", "unpause", worker) })
	begin := time.Now()
	rest, _ := io.ReadAll(lines)
	told += string(rest)
	err = c.Wait()
	t.Logf("%v after %s: %s", err, time.Since(begin), told)
	if c.ProcessState.ExitCode() != 1 || !strings.Contains(told, "skep: load an image on "+worker+": ") || !strings.Contains(told, "nothing was heard of it") {
		t.Errorf("%v: %s", err, told)
	}
	if took := time.Since(begin); took > 2*time.Minute {
		t.Errorf("it took %s", took)
	}
	if has := docker(t, "exec", manager, "docker", "image", "ls", "-q", "large:1"); has == "" {
		t.Errorf("%s has no image", manager)
	}

	docker(t, "unpause", worker)
	eventually(t, time.Minute, "the worker is ready", func() error {
		for _, n := range u.nodes(env) {
			if n.Status != "running" || n.Swarm != "ready" {
				return fmt.Errorf("%s is %s and %s in the swarm", n.Name, n.Status, n.Swarm)
			}
		}
		return nil
	})
	if r := u.must(build...); !strings.Contains(r.errs, "sending image large:1 to 1 of 2 nodes") {
		t.Errorf("sent again: %s", r.errs)
	}
}

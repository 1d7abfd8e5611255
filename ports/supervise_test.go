package ports

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"skep/home"
)

// supervised runs a Supervise of dev's process, which is this test binary.
func supervised(t *testing.T, dir home.Dir, addr string) <-chan error {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	early, done := make(chan error, 1), make(chan error, 1)
	go func() {
		err := Supervise(ctx, dir, "dev", []string{exe, serveArg, addr, dir.State, "dev"}, slog.New(slog.DiscardHandler))
		early <- err
		done <- err
		close(done)
	}()
	t.Cleanup(func() { cancel(); <-done })
	wait, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	_ = (process{dir, "dev"}).waitReady(wait, early) // or it failed, as done tells
	return done
}

// kill -9 costs nobody a tunnel: it is back at the same port by itself, and
// ends for good when its user closes it.
func TestSupervisedProcessIsBackAfterAKill(t *testing.T) {
	t.Parallel()
	dir, port := testHome(t), freePorts(t, 1)
	done := supervised(t, dir, echo(t))
	c := client(dir)
	web := mustOpen(t, c, "dev", "web", port, 0)
	for range 2 {
		kill(t, c, web)
		again := web
		for begin := time.Now(); !again.Alive || again.PID == web.PID; time.Sleep(poll) {
			listed, err := c.List(t.Context(), "dev")
			if err != nil || len(listed) != 1 || time.Since(begin) > time.Minute {
				t.Fatalf("listed %v, %v", listed, err)
			}
			again = listed[0]
		}
		if again.LocalPort != web.LocalPort {
			t.Errorf("it is back as %+v", again)
		}
		check(t, again)
		web = again
	}
	if _, err := c.Close(t.Context(), "dev", "", 0); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Supervise: %v", err)
	}
	nothingLeft(t, c)
}

// A process that cannot start is not started again and again.
func TestSupervisedProcessThatCannotStart(t *testing.T) {
	t.Parallel()
	if err := <-supervised(t, testHome(t), "unreachable"); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("Supervise: %v", err)
	}
}

// A process that does not answer is ended by whoever closes its tunnels, and
// the supervisor does not bring it back.
func TestSupervisedProcessThatHangsIsEnded(t *testing.T) {
	t.Parallel()
	dir := testHome(t)
	c := client(dir)
	err := c.table().update(t.Context(), func(tab *table) error { tab.take("dev", target{"web", 8080}); return nil })
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- Supervise(context.Background(), dir, "dev", []string{exe, serveArg, "deaf", dir.State, "dev"}, slog.New(slog.DiscardHandler))
	}()
	for begin := time.Now(); ; time.Sleep(poll) {
		if _, err := os.Lstat(dir.TunnelSocket("dev")); err == nil {
			break
		}
		if time.Since(begin) > time.Minute {
			t.Fatal("it never came up")
		}
	}
	if _, err := c.Close(t.Context(), "dev", "", 0); err != nil {
		t.Error(err)
	}
	<-done // with an error or not: it may have seen that the process was killed
	nothingLeft(t, c)
}

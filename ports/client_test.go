package ports

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestBackgroundProcess(t *testing.T) {
	t.Parallel()
	c, port := newClient(t, echo(t)), freePorts(t, 3)
	web := mustOpen(t, c, "dev", "web", port, 0)
	if web.PID == os.Getpid() || web.PID == 0 {
		t.Errorf("held by process %d", web.PID)
	}
	check(t, web)
	db := mustOpen(t, c, "dev", "db", port+1, 0)
	if db.PID != web.PID {
		t.Errorf("processes %d and %d for one environment", web.PID, db.PID)
	}
	tst := mustOpen(t, c, "tst", "web", port, 0)
	if tst.PID == web.PID || tst.LocalPort == web.LocalPort || tst.LocalPort == db.LocalPort {
		t.Errorf("tst has %+v beside %+v and %+v", tst, web, db)
	}
	check(t, tst)
	closed, err := c.Close(t.Context(), "dev", "", 0)
	if err != nil || len(closed) != 2 || quiet(closed[0]) != db || quiet(closed[1]) != web {
		t.Errorf("closed %v, %v", closed, err)
	}
	refuses(t, web.LocalPort)
	refuses(t, db.LocalPort)
	nothingLeft(t, c)
	check(t, tst)
	if again := mustOpen(t, c, "dev", "web", port, 0); again.LocalPort != web.LocalPort || again.PID == web.PID {
		t.Errorf("opened again as %+v, was %+v", again, web)
	}
}

func TestKilledProcessIsReplaced(t *testing.T) {
	t.Parallel()
	c, port := newClient(t, echo(t)), freePorts(t, 2)
	web := mustOpen(t, c, "dev", "web", port, 0)
	db := mustOpen(t, c, "dev", "db", port+1, 0)
	kill(t, c, web)

	listed, err := c.List(t.Context(), "")
	if err != nil || len(listed) != 2 || listed[0].Alive || listed[0].PID != 0 || listed[1].Alive || listed[1].LocalPort != web.LocalPort {
		t.Errorf("listed after the kill: %v, %v", listed, err)
	}
	again := mustOpen(t, c, "dev", "web", port, 0)
	if again.LocalPort != web.LocalPort || again.PID == web.PID {
		t.Errorf("opened as %+v, was %+v", again, web)
	}
	check(t, again)
	db.PID = again.PID // what else it held is back as well
	if listed, err = c.List(t.Context(), "dev"); err != nil || len(listed) != 2 || listed[0] != db || quiet(listed[1]) != again {
		t.Errorf("listed after the replacement: %v, %v", listed, err)
	}
	if closed, err := c.Close(t.Context(), "dev", "db", 0); err != nil || len(closed) != 1 || closed[0] != db {
		t.Errorf("closed %v, %v, want the one that is back", closed, err)
	}
	kill(t, c, again)
	if closed, err := c.Close(t.Context(), "dev", "", 0); err != nil || len(closed) != 1 || closed[0].target() != again.target() {
		t.Errorf("closed %v, %v", closed, err)
	}
	nothingLeft(t, c)
}

// kill is kill -9.
func kill(t *testing.T, c Client, tun Tunnel) {
	t.Helper()
	proc, err := os.FindProcess(tun.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := proc.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.process(tun.Env).waitGone(t.Context(), tun.PID, time.Minute); err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentOpensStartOneProcess(t *testing.T) {
	t.Parallel()
	const n = 8
	c, port := newClient(t, echo(t)), freePorts(t, n)
	opened := make([]Tunnel, 2*n)
	var opens sync.WaitGroup
	for i := range opened {
		opens.Go(func() {
			var err error
			if opened[i], err = c.Open(t.Context(), "dev", "web", port+i%n, Local{}); err != nil {
				t.Error(err)
			}
		})
	}
	opens.Wait()
	for i, tun := range opened {
		if quiet(tun) != opened[i%n] || tun.PID != opened[0].PID || tun.LocalPort != port+i%n {
			t.Errorf("open %d gave %+v", i, tun)
		}
	}
	log, err := os.ReadFile(c.Home.TunnelLog("dev"))
	if starts := strings.Count(string(log), "tunnel process started"); err != nil || starts != 1 {
		t.Errorf("%d processes were started: %v", starts, err)
	}
}

// Opens that fail end the process under the feet of those that succeed.
func TestOpensAmongFailingOnes(t *testing.T) {
	t.Parallel()
	c, port := newClient(t, echo(t)), freePorts(t, 1)
	var opens sync.WaitGroup
	for range 6 {
		opens.Go(func() {
			if _, err := c.Open(t.Context(), "dev", "dead", port, Local{}); err == nil || !strings.Contains(err.Error(), "no task of dead runs") {
				t.Errorf("dead: %v", err)
			}
		})
	}
	opens.Go(func() {
		if _, err := c.Open(t.Context(), "dev", "web", port, Local{}); err != nil {
			t.Errorf("web: %v", err)
		}
	})
	opens.Wait()
	if listed, err := c.List(t.Context(), "dev"); err != nil || len(listed) != 1 || !listed[0].Alive {
		t.Errorf("listed %v, %v", listed, err)
	}
}

func TestOpenOnATakenPortLeavesNothing(t *testing.T) {
	t.Parallel()
	c, port := newClient(t, echo(t)), freePorts(t, 1)
	occupy(t, "tcp4", "127.0.0.1", port)
	_, err := c.Open(t.Context(), "dev", "web", 8080, Local{Port: port})
	if err == nil || !strings.Contains(err.Error(), "on this machine is in use") {
		t.Errorf("Open: %v", err)
	}
	nothingLeft(t, c)
}

func TestOpenOfADeadServiceLeavesNothing(t *testing.T) {
	t.Parallel()
	c := newClient(t, echo(t))
	_, err := c.Open(t.Context(), "dev", "dead", 8080, Local{})
	if err == nil || !strings.Contains(err.Error(), "reach dead:8080 of dev: no task of dead runs") {
		t.Errorf("Open: %v", err)
	}
	nothingLeft(t, c)
}

func TestStartThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	c := newClient(t, "unreachable")
	if err := os.WriteFile(c.Home.TunnelLog("dev"), []byte("yesterday's trouble\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := c.Open(t.Context(), "dev", "web", 8080, Local{})
	if err == nil || !strings.Contains(err.Error(), "\nssh to dev-manager-1: no route to host") || strings.Contains(err.Error(), "yesterday") {
		t.Errorf("Open: %v, want its last log lines", err)
	}
	nothingLeft(t, c)

	c.Command = []string{c.Command[0] + "-gone"}
	if _, err := c.Open(t.Context(), "dev", "web", 8080, Local{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open with no such command: %v", err)
	}
}

// Ctrl-C while the process is still connecting takes the process along.
func TestStartThatIsCancelledLeavesNothing(t *testing.T) {
	t.Parallel()
	c := newClient(t, "slow")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		waitForLog(t, c, "connecting")
		cancel()
	}()
	_, err := c.Open(ctx, "dev", "web", 8080, Local{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
	// It said on its way out that it was asked to go, and quit has waited.
	if log, _ := os.ReadFile(c.Home.TunnelLog("dev")); !strings.Contains(string(log), "context canceled") {
		t.Errorf("the process still runs: %s", log)
	}
	nothingLeft(t, c)
}

func waitForLog(t *testing.T, c Client, text string) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for range 2000 {
		if log, _ := os.ReadFile(c.Home.TunnelLog("dev")); strings.Contains(string(log), text) {
			return
		}
		<-tick.C
	}
	t.Errorf("%q never came up in the log", text)
}

// A process that has lost its socket is ended by its pid.
func TestCloseEndsAProcessWithoutASocket(t *testing.T) {
	t.Parallel()
	c := newClient(t, "mute")
	_, ended := spawn(t, c, "up")
	if _, err := c.Close(t.Context(), "dev", "", 0); err != nil {
		t.Error(err)
	}
	<-ended
	nothingLeft(t, c)
}

// A process that hangs is named to whoever needs it, and ended by its pid when
// all its tunnels are to be closed.
func TestProcessThatHangs(t *testing.T) {
	t.Parallel()
	c := newClient(t, "deaf")
	err := c.table().update(t.Context(), func(tab *table) error { tab.take("dev", target{"web", 8080}); return nil })
	if err != nil {
		t.Fatal(err)
	}
	_, ended := spawn(t, c, "up")
	opened, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.Open(t.Context(), "dev", "web", 8080, Local{})
		opened <- err
	}()
	go func() {
		_, err := c.Close(t.Context(), "dev", "web", 0)
		closed <- err
	}()
	listed, err := c.List(t.Context(), "dev")
	if err != nil || len(listed) != 1 || listed[0].Alive || listed[0].PID != 0 {
		t.Errorf("listed %v, %v", listed, err)
	}
	for what, err := range map[string]error{"Open": <-opened, "Close of one": <-closed} {
		if err == nil || !strings.Contains(err.Error(), "skep tunnel close dev") {
			t.Errorf("%s: %v, want what to do", what, err)
		}
	}
	if all, err := c.Close(t.Context(), "dev", "", 0); err != nil || len(all) != 1 || all[0] != listed[0] {
		t.Errorf("closed %v, %v", all, err)
	}
	<-ended
	nothingLeft(t, c)
}

// spawn starts dev's process in the background without waiting for an answer,
// only for a text in its log.
func spawn(t *testing.T, c Client, until string) (*os.Process, <-chan error) {
	t.Helper()
	p := c.process("dev")
	log, err := openLog(p)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	child, ended, err := c.spawn(t.Context(), p, log)
	if err != nil {
		t.Fatal(err)
	}
	waitForLog(t, c, until)
	return child, ended
}

// A dead process's pid may be another program's by now: nobody may be ended
// for it when the lock is free. The stranger here is a child that holds none.
func TestCloseSparesAStrangerWithTheOldPID(t *testing.T) {
	t.Parallel()
	c := newClient(t, "slow")
	p := c.process("dev")
	stranger, ended := spawn(t, c, "connecting")
	defer quit(stranger, ended)
	if err := os.WriteFile(p.pidFile(), []byte(strconv.Itoa(stranger.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	staleSocket(t, p.socket())
	if _, err := c.Close(t.Context(), "dev", "", 0); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		t.Errorf("the stranger ended: %v", err)
	default:
	}
	nothingLeft(t, c)
}

func TestOpenRefusesWhatIsNoPort(t *testing.T) {
	c := client(testHome(t))
	for _, bad := range []struct {
		service       string
		remote, local int
	}{{"", 80, 0}, {"web", 0, 0}, {"web", 65536, 0}, {"web", 80, -1}, {"web", 80, 65536}} {
		if _, err := c.Open(t.Context(), "dev", bad.service, bad.remote, Local{Port: bad.local}); err == nil {
			t.Errorf("opened %+v", bad)
		}
	}
}

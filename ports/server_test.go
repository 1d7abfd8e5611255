package ports

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"skep/home"
)

// serving runs a Serve in this process. The returned function ends it.
func serving(t *testing.T, dir home.Dir, env string, d Dialer) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	early, done := make(chan error, 1), make(chan error, 1)
	go func() {
		err := Serve(ctx, dir, env, d, slog.New(slog.DiscardHandler))
		early <- err
		done <- err
	}()
	end = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	wait, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	if err := (process{dir, env}).waitReady(wait, early); err != nil {
		t.Fatal(err)
	}
	return end
}

// client is one that finds its processes running.
func client(dir home.Dir) Client {
	return Client{Home: dir, Log: slog.New(slog.DiscardHandler)}
}

func mustOpen(t *testing.T, c Client, env, service string, remote, local int) Tunnel {
	t.Helper()
	tun, err := c.Open(t.Context(), env, service, remote, Local{Port: local})
	if err != nil {
		t.Fatal(err)
	}
	if tun.Env != env || tun.Service != service || tun.RemotePort != remote || !tun.Alive {
		t.Errorf("opened %+v", tun)
	}
	return tun
}

// quiet is the tunnel without what went through it.
func quiet(t Tunnel) Tunnel {
	t.Connections, t.Total, t.Sent, t.Received = 0, 0, 0, 0
	return t
}

func TestServeTwoEnvironments(t *testing.T) {
	dir, addr, port := testHome(t), echo(t), freePorts(t, 4)
	serving(t, dir, "dev", echoDialer(addr))
	serving(t, dir, "tst", echoDialer(addr))
	c := client(dir)

	dev := mustOpen(t, c, "dev", "web", port, 0)
	tst := mustOpen(t, c, "tst", "web", port, 0)
	if dev.LocalPort != port || tst.LocalPort != port+1 {
		t.Errorf("ports %d and %d for %d", dev.LocalPort, tst.LocalPort, port)
	}
	check(t, dev)
	check(t, tst)
	if again := mustOpen(t, c, "dev", "web", port, 0); quiet(again) != quiet(dev) {
		t.Errorf("opened again as %+v, was %+v", again, dev)
	}
	if again := mustOpen(t, c, "dev", "web", port, dev.LocalPort); quiet(again) != quiet(dev) {
		t.Errorf("opened again on its own port as %+v, was %+v", again, dev)
	}
	if _, err := c.Open(t.Context(), "dev", "web", port, Local{Port: port + 3}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("opened again on another port: %v", err)
	}
	all, err := c.List(t.Context(), "")
	if err != nil || len(all) != 2 || quiet(all[0]) != dev || quiet(all[1]) != tst {
		t.Errorf("listed %v, %v", all, err)
	}
	if runtime.GOOS != "windows" {
		info, err := os.Stat(dir.TunnelSocket("dev"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the socket: %v, %v", info, err)
		}
	}
}

func TestServeEndsWithItsLastTunnel(t *testing.T) {
	dir, port := testHome(t), freePorts(t, 2)
	end := serving(t, dir, "dev", echoDialer(echo(t)))
	c := client(dir)
	a := mustOpen(t, c, "dev", "a", port, 0)
	b := mustOpen(t, c, "dev", "b", port, 0)

	closed, err := c.Close(t.Context(), "dev", "a", port)
	if err != nil || len(closed) != 1 || quiet(closed[0]) != a {
		t.Fatalf("closed %v, %v", closed, err)
	}
	refuses(t, a.LocalPort)
	check(t, b)
	if none, err := c.Close(t.Context(), "dev", "a", port); err != nil || len(none) != 0 {
		t.Errorf("closed again: %v, %v", none, err)
	}
	if closed, err = c.Close(t.Context(), "dev", "b", 0); err != nil || len(closed) != 1 || quiet(closed[0]) != b {
		t.Fatalf("closed %v, %v", closed, err)
	}
	refuses(t, b.LocalPort)
	nothingLeft(t, c)
	if err := end(); err != nil {
		t.Errorf("Serve: %v", err)
	}

	serving(t, dir, "dev", echoDialer(echo(t)))
	if again := mustOpen(t, c, "dev", "b", port, 0); again.LocalPort != b.LocalPort {
		t.Errorf("opened again on port %d, was %d", again.LocalPort, b.LocalPort)
	}
}

// A reboot ends the process by a signal: the user sees what was open.
func TestServeEndedFromOutsideIsListedAsDead(t *testing.T) {
	dir, port := testHome(t), freePorts(t, 1)
	end := serving(t, dir, "dev", echoDialer(echo(t)))
	c := client(dir)
	was := mustOpen(t, c, "dev", "web", port, 0)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	refuses(t, was.LocalPort)
	dead := was
	dead.Alive, dead.PID = false, 0
	if got, err := c.List(t.Context(), "dev"); err != nil || len(got) != 1 || got[0] != dead {
		t.Errorf("listed %v, %v, want %v", got, err, dead)
	}
	if got, err := c.Close(t.Context(), "dev", "", 0); err != nil || len(got) != 1 || got[0] != dead {
		t.Errorf("closed %v, %v, want %v", got, err, dead)
	}
	nothingLeft(t, c)
}

func TestServeWaitsForItsFirstTunnelNotForEver(t *testing.T) {
	dir := testHome(t)
	if err := serve(t.Context(), dir, "dev", echoDialer(""), slog.New(slog.DiscardHandler), poll); err != nil {
		t.Error(err)
	}
	nothingLeft(t, client(dir))
}

func TestServeTwiceIsRefused(t *testing.T) {
	t.Parallel()
	dir := testHome(t)
	serving(t, dir, "dev", echoDialer(""))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := Serve(ctx, dir, "dev", echoDialer(""), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "another tunnel process of dev runs") {
		t.Errorf("Serve: %v", err)
	}
	if _, err := (process{dir, "dev"}).list(t.Context()); err != nil {
		t.Errorf("the first does not answer any more: %v", err)
	}
}

func TestServeOpenThatFailsLeavesNothing(t *testing.T) {
	for name, open := range map[string]struct {
		service string
		local   func(*testing.T) int
		want    string
	}{
		"service unreachable": {"dead", func(*testing.T) int { return 0 }, "no task of dead runs"},
		"port taken": {"web", func(t *testing.T) int {
			port := freePorts(t, 1)
			occupy(t, "tcp4", "127.0.0.1", port)
			return port
		}, "on this machine is in use"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := testHome(t)
			end := serving(t, dir, "dev", echoDialer(echo(t)))
			c := client(dir)
			_, err := c.Open(t.Context(), "dev", open.service, 8080, Local{Port: open.local(t)})
			if err == nil || !strings.Contains(err.Error(), open.want) {
				t.Errorf("Open: %v, want %q", err, open.want)
			}
			nothingLeft(t, c)
			if _, err := os.Stat(dir.TunnelTable()); !os.IsNotExist(err) {
				t.Errorf("the table has an entry: %v", err)
			}
			if err := end(); err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}

// A failed open must not end a process that holds tunnels.
func TestServeOutlivesAFailedOpen(t *testing.T) {
	dir, port := testHome(t), freePorts(t, 1)
	serving(t, dir, "dev", echoDialer(echo(t)))
	c := client(dir)
	web := mustOpen(t, c, "dev", "web", port, 0)
	if _, err := c.Open(t.Context(), "dev", "dead", port, Local{}); err == nil {
		t.Error("the dead service was opened")
	}
	check(t, web)
}

// stuckDialer tells when it is asked and answers only to cancellation.
type stuckDialer chan struct{}

func (d stuckDialer) DialService(ctx context.Context, _ string, _ int) (net.Conn, error) {
	d <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestOpenEndsWithItsContext(t *testing.T) {
	dir, asked := testHome(t), make(stuckDialer, 1)
	end := serving(t, dir, "dev", asked)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := client(dir).Open(ctx, "dev", "web", 8080, Local{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
	// The client has gone, so the server ends by itself.
	wait, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	if err := (process{dir, "dev"}).waitGone(wait, os.Getpid(), 20*time.Second); err != nil {
		t.Error(err)
	}
	if err := end(); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// Closing all of an environment also ends an open that is under way; with no
// command to start another process, that open fails.
func TestCloseEndsAnOpenUnderWay(t *testing.T) {
	dir, asked := testHome(t), make(stuckDialer, 1)
	serving(t, dir, "dev", asked)
	c := client(dir)
	opened := make(chan error, 1)
	go func() {
		_, err := c.Open(context.Background(), "dev", "web", 8080, Local{})
		opened <- err
	}()
	<-asked
	if _, err := c.Close(t.Context(), "dev", "", 0); err != nil {
		t.Error(err)
	}
	if err := <-opened; err == nil {
		t.Error("the open succeeded")
	}
	nothingLeft(t, c)
}

func TestDamagedTable(t *testing.T) {
	dir, port := testHome(t), freePorts(t, 1)
	serving(t, dir, "dev", echoDialer(echo(t)))
	c := client(dir)
	web := mustOpen(t, c, "dev", "web", port, 0)
	if err := os.WriteFile(dir.TunnelTable(), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, listErr := c.List(t.Context(), "")
	_, openErr := c.Open(t.Context(), "dev", "db", port, Local{})
	closed, closeErr := c.Close(t.Context(), "dev", "", 0)
	for what, err := range map[string]error{"list": listErr, "open": openErr, "close": closeErr} {
		if err == nil || !strings.Contains(err.Error(), dir.TunnelTable()) {
			t.Errorf("%s: %v, want an error that names the table", what, err)
		}
	}
	if len(closed) != 1 || quiet(closed[0]) != web {
		t.Errorf("closed %v", closed)
	}
	refuses(t, web.LocalPort)
	if alive, err := (process{dir, "dev"}).alive(); alive || err != nil {
		t.Errorf("the process is alive: %v", err)
	}
}

// What a process held is held again by the next one, at the same ends, before
// any service answers.
func TestServeRestoresWhatWasOpen(t *testing.T) {
	dir, addr, port := testHome(t), echo(t), freePorts(t, 2)
	socket := dir.State + "/web.sock"
	end := serving(t, dir, "dev", echoDialer(addr))
	c := client(dir)
	web := mustOpen(t, c, "dev", "web", port, 0)
	db, err := c.Open(t.Context(), "dev", "db", 28015, Local{Socket: socket})
	if err != nil || db.Socket != socket || db.LocalPort != 0 || db.String() != socket+" -> dev:28015" {
		t.Fatalf("opened %+v, %v", db, err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	staleSocket(t, socket) // as after a kill

	serving(t, dir, "dev", echoDialer(addr))
	listed, err := c.List(t.Context(), "dev")
	if err != nil || len(listed) != 2 || listed[0] != db || listed[1] != web {
		t.Errorf("listed %v, %v", listed, err)
	}
	check(t, web)
	checkAt(t, "unix", socket, db)
	if _, err := c.Close(t.Context(), "dev", "", 0); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestCheckTellsWhichServicesAnswer(t *testing.T) {
	dir, port := testHome(t), freePorts(t, 2)
	reach := &fadingDialer{echoDialer: echoDialer(echo(t))}
	serving(t, dir, "dev", reach)
	c := client(dir)
	web := mustOpen(t, c, "dev", "web", port, 0)
	mustOpen(t, c, "dev", "gone", port, 0)
	reach.gone.Store(true)
	check(t, web)
	checked, err := c.Check(t.Context(), "dev")
	if err != nil || len(checked) != 2 {
		t.Fatalf("checked %v, %v", checked, err)
	}
	if gone := checked[0]; gone.Alive || !strings.Contains(gone.Error, "no task of gone runs") || gone.LatencyMS != 0 {
		t.Errorf("gone is %+v", gone)
	}
	if web := checked[1]; !web.Alive || web.Error != "" || web.LatencyMS <= 0 || web.Total != 1 || web.Received == 0 {
		t.Errorf("web is %+v", web)
	}
}

// fadingDialer loses the service gone at some time.
type fadingDialer struct {
	echoDialer
	gone atomic.Bool
}

func (d *fadingDialer) DialService(ctx context.Context, service string, port int) (net.Conn, error) {
	if service == "gone" && d.gone.Load() {
		return nil, errors.New("no task of gone runs")
	}
	return d.echoDialer.DialService(ctx, service, port)
}

package ports

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"go.uber.org/goleak"

	"skep/home"
)

// The test binary is also the background process: see Client.Command in
// newClient.
const serveArg = "serve-tunnels"

func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == serveArg {
		if err := serveTunnels(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	release, err := claimPorts()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Built with -race, a program sleeps a second when it ends: longer than
	// goleak waits for those who wait for the background processes.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { release(); os.Exit(code) }))
}

// serveTunnels is what `skep tunnel serve ENV` does, in the state folder, with
// a service at addr; or a word instead of an address makes it misbehave.
func serveTunnels(addr, state, env string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir := home.Dir{Config: state, State: state}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	switch addr {
	case "unreachable":
		return errors.New("ssh to dev-manager-1: no route to host")
	case "slow": // an environment that does not answer
		log.Info("connecting")
		<-ctx.Done()
		return ctx.Err()
	case "mute": // alive, but its socket is gone
		release, err := (process{dir, env}).hold(ctx)
		if err != nil {
			return err
		}
		log.Info("up")
		<-ctx.Done()
		return release()
	case "deaf": // alive, but answers nobody and ignores requests to end
		p := process{dir, env}
		_, err := p.hold(ctx)
		if err != nil {
			return err
		}
		if _, err := p.listen(ctx); err != nil {
			return err
		}
		signal.Ignore(syscall.SIGTERM)
		log.Info("up")
		select {}
	}
	return Serve(ctx, dir, env, echoDialer(addr), log)
}

// echoDialer reaches one address as every service but "dead".
type echoDialer string

func (d echoDialer) DialService(ctx context.Context, service string, port int) (net.Conn, error) {
	if service == "dead" {
		return nil, fmt.Errorf("no task of %s runs", service)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", string(d))
	if err == nil {
		_, err = fmt.Fprintf(conn, "%s:%d\n", service, port)
	}
	return conn, err
}

// echo is a service that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); running.Wait() })
	return ln.Addr().String()
}

// testHome is short: macOS allows a socket's path 104 bytes.
func testHome(t *testing.T) home.Dir {
	t.Helper()
	dir, err := os.MkdirTemp("", "sk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return home.Dir{Config: dir, State: dir}
}

// newClient is a Client whose background processes are this test binary, with
// a service at addr. None of them outlives the test.
func newClient(t *testing.T, addr string) Client {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := testHome(t)
	c := Client{Home: dir, Command: []string{exe, serveArg, addr, dir.State}, Log: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, env := range []string{"dev", "tst"} {
			if _, err := c.Close(ctx, env, "", 0); err != nil {
				t.Errorf("clean up: %v", err)
			}
			if alive, err := c.process(env).alive(); alive || err != nil {
				t.Errorf("the process of %s outlived the test: %v", env, err)
			}
		}
	})
	return c
}

// testPorts is a range of ports that only this run of the tests uses. Ports
// from 32768 on are given to outgoing connections, so it lies below.
type testPorts struct {
	mu         sync.Mutex
	next, last int
}

var ports testPorts

// claimPorts takes the first range that no other run has, until this one ends.
func claimPorts() (func(), error) {
	const each = 500
	for first := 12000; first+each < 32000; first += each {
		l := flock.New(filepath.Join(os.TempDir(), "skep-test-ports-"+strconv.Itoa(first)))
		if ok, err := l.TryLock(); err != nil {
			return nil, err
		} else if ok {
			ports.next, ports.last = first, first+each
			return func() { _ = l.Unlock() }, nil
		}
	}
	return nil, errors.New("all ranges of ports are in use")
}

// freePorts is the first of n ports in a row that are free, and more after
// them for tunnels that move on. It asks by dialling: a child process that is
// just being started keeps a port that was listened on busy for a moment.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
next:
	for {
		first := ports.next
		if ports.next += n + 5; ports.next > ports.last {
			t.Fatal("no ports in a row are free")
		}
		for port := first; port < first+n; port++ {
			if conn, err := dialPort(t, port); err == nil {
				_ = conn.Close()
				continue next
			}
		}
		return first
	}
}

func dialPort(t *testing.T, port int) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(t.Context(), "tcp", net.JoinHostPort("localhost", strconv.Itoa(port)))
}

// occupy takes a port as another program does.
func occupy(t *testing.T, network, host string, port int) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), network, net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
}

// check opens a connection over the tunnel and sees that it is to its service.
func check(t *testing.T, tun Tunnel) {
	t.Helper()
	checkAt(t, "tcp", net.JoinHostPort("localhost", strconv.Itoa(tun.LocalPort)), tun)
}

func checkAt(t *testing.T, network, addr string, tun Tunnel) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), network, addr)
	if err != nil {
		t.Fatalf("%v does not accept: %v", tun, err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	want := tun.target().String() + "\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Errorf("%v reached %q, want %q: %v", tun, got, want, err)
	}
}

func refuses(t *testing.T, port int) {
	t.Helper()
	if conn, err := dialPort(t, port); err == nil {
		_ = conn.Close()
		t.Errorf("port %d still accepts", port)
	}
}

// nothingLeft sees that dev has no process, socket or tunnel.
func nothingLeft(t *testing.T, c Client) {
	t.Helper()
	p := c.process("dev")
	if alive, err := p.alive(); alive || err != nil {
		t.Errorf("the process of dev is alive: %v", err)
	}
	for _, path := range []string{p.socket(), p.pidFile()} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if got, err := c.List(t.Context(), "dev"); err != nil || len(got) != 0 || got == nil {
		t.Errorf("listed %v (%v), want an empty list", got, err)
	}
}

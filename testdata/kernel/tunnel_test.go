package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"skep/tunnel"
)

const (
	served  = "127.0.0.1:9000" // on the hosts
	bulk    = 16 << 20
	rounds  = 5
	farTrip = 80 * time.Millisecond
)

// TestMain is the server at the far end as well, when it is asked to be.
func TestMain(m *testing.M) {
	if os.Getenv("KERNEL_SERVE") != "" {
		serve()
	}
	os.Exit(m.Run())
}

// serve answers a byte on each connection: with itself, or for 'b' with bulk.
func serve() {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", served)
	if err != nil {
		panic(err)
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			asked := make([]byte, 1)
			if _, err := io.ReadFull(conn, asked); err == nil {
				if asked[0] == 'b' {
					asked = make([]byte, bulk)
				}
				_, _ = conn.Write(asked)
			}
			_ = conn.Close()
		}()
	}
}

// A new connection through a tunnel is usable after one round trip more than a
// direct one. How fast bulk is beside OpenSSH is told, near and far: here the
// emulated processor has more to say in it than the distance.
func TestTunnelOverADistance(t *testing.T) {
	for n, far := range []time.Duration{0, farTrip} {
		ssh, skep := fmt.Sprintf("127.0.0.1:90%d1", n), fmt.Sprintf("127.0.0.1:90%d2", n)
		start(t, append(os.Environ(), "KERNEL_SERVE=1"), "ip", "netns", "exec", fmt.Sprintf("h%d", n+1), os.Args[0])
		start(t, nil, "ssh", "-N", "-c", "aes128-gcm@openssh.com", "-L", ssh+":"+served, "root@"+addresses()[n])
		forward(t, skep, addresses()[n])
		for _, address := range []string{ssh, skep} {
			eventually(t, address, func() error { _, err := ask(t.Context(), address, 'x'); return err })
		}
		var bulks, trips [2][]time.Duration // OpenSSH's and skep's
		for range rounds {
			for way, address := range []string{ssh, skep} {
				bulks[way] = append(bulks[way], took(t, address, 'b'))
				trips[way] = append(trips[way], took(t, address, 'x'))
			}
		}
		t.Logf("%s away: 16 MiB in %s, OpenSSH %s, ratio %.2f; a byte on a new connection in %s, OpenSSH %s", far,
			median(bulks[1]), median(bulks[0]), float64(median(bulks[0]))/float64(median(bulks[1])), median(trips[1]), median(trips[0]))
		// Directly it takes two round trips to the first byte.
		if trip := median(trips[1]); far > 0 && trip > 3*far {
			t.Errorf("a new connection took %s to its first byte", trip)
		}
	}
}

func took(t *testing.T, address string, what byte) time.Duration {
	t.Helper()
	d, err := ask(t.Context(), address, what)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// start runs a program for the time of the test.
func start(t *testing.T, env []string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), args[0], args[1:]...)
	c.Env, c.Stderr = env, os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Wait() })
}

// forward is what `skep tunnel open` does, to a host.
func forward(t *testing.T, address, host string) {
	t.Helper()
	e := tunnel.Endpoint{
		Name: host, Address: net.JoinHostPort(host, "22"), User: "root", KeyFile: "/root/.ssh/id_ed25519",
		KnownHosts: filepath.Join(t.TempDir(), "known_hosts"), TrustFirst: true,
	}
	log := slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	pool := tunnel.NewPool(ctx, e.Name, func(ctx context.Context) (*tunnel.Conn, error) { return tunnel.Connect(ctx, e) }, log)
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	f := &tunnel.Forwarder{Dial: func(ctx context.Context) (net.Conn, error) { return pool.Dial(ctx, "tcp", served) }, Log: log}
	ended := make(chan error, 1)
	go func() { ended <- f.Forward(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		pool.Close()
	})
}

// ask opens a connection, sends a byte and reads to the end.
func ask(ctx context.Context, address string, what byte) (time.Duration, error) {
	begin := time.Now()
	conn, err := (&net.Dialer{Timeout: time.Minute}).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	_, err = conn.Write([]byte{what})
	n, copied := io.Copy(io.Discard, conn)
	if err = errors.Join(err, copied, conn.Close()); err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	return time.Since(begin), err
}

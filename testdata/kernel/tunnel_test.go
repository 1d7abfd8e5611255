package kernel

import (
	"context"
	"errors"
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
	served  = "127.0.0.1:9000" // on the host that is 80 ms away
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

// A tunnel over a distance is as fast as OpenSSH's, and a new connection is
// usable after one round trip more than a direct one.
func TestTunnelOverADistance(t *testing.T) {
	start(t, append(os.Environ(), "KERNEL_SERVE=1"), "ip", "netns", "exec", "h2", os.Args[0])
	start(t, nil, "ssh", "-N", "-c", "aes128-gcm@openssh.com", "-L", "127.0.0.1:9001:"+served, "root@"+addresses()[1])
	forward(t, "127.0.0.1:9002")
	ways := map[string]string{"OpenSSH": "127.0.0.1:9001", "skep": "127.0.0.1:9002"}
	took := map[string][]time.Duration{}
	for _, address := range ways {
		eventually(t, address, func() error { _, err := ask(t.Context(), address, 'x'); return err })
	}
	for range rounds {
		for name, address := range ways {
			for kind, what := range map[string]byte{"bulk": 'b', "trip": 'x'} {
				d, err := ask(t.Context(), address, what)
				if err != nil {
					t.Fatal(err)
				}
				took[name+" "+kind] = append(took[name+" "+kind], d)
			}
		}
	}
	median := func(of string) time.Duration {
		slices.Sort(took[of])
		return took[of][rounds/2]
	}
	ratio := float64(median("OpenSSH bulk")) / float64(median("skep bulk"))
	t.Logf("16 MiB over 80 ms: OpenSSH %s, skep %s, ratio %.2f; a byte on a new connection: OpenSSH %s, skep %s",
		median("OpenSSH bulk"), median("skep bulk"), ratio, median("OpenSSH trip"), median("skep trip"))
	// A direct connection takes two round trips to its first byte, and its own
	// processor's time is ten times what it would be.
	if trip := median("skep trip"); trip > 3*farTrip {
		t.Errorf("a new connection took %s to its first byte", trip)
	}
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

// forward is what `skep tunnel open` does, to the host that is 80 ms away.
func forward(t *testing.T, address string) {
	t.Helper()
	e := tunnel.Endpoint{
		Name: "host2", Address: net.JoinHostPort(addresses()[1], "22"), User: "root", KeyFile: "/root/.ssh/id_ed25519",
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

package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// pooledTo is a pool of connections to a server and the number of those made.
func pooledTo(t *testing.T, s *sshd, log *slog.Logger) (*Pool, *atomic.Int64) {
	t.Helper()
	e := s.endpoint(t)
	var made atomic.Int64
	p := NewPool(t.Context(), e.Name, func(ctx context.Context) (*Conn, error) {
		made.Add(1)
		return Connect(ctx, e)
	}, log)
	t.Cleanup(p.Close)
	return p, &made
}

func mustDial(t *testing.T, p *Pool, addr string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stuck)
	defer cancel()
	conn, err := p.Dial(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// until waits for a condition that nothing tells of.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for begin := time.Now(); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > stuck {
			t.Fatalf("%s: never", what)
		}
	}
}

func TestPoolGrowsWithItsLoad(t *testing.T) {
	p, made := pooledTo(t, startServer(t), discard())
	addr := echoing(t, "tcp", "127.0.0.1:0")
	var conns []net.Conn
	for range 3 * busyLoad {
		before := made.Load()
		conns = append(conns, mustDial(t, p, addr))
		if n := made.Load(); n > before && len(conns) <= busyLoad {
			if n != 1 {
				t.Errorf("%d connections for a load of %d", n, len(conns))
			}
		}
	}
	until(t, "more lines", func() bool { return len(p.loads()) > 1 })
	for range 4 * busyLoad {
		conns = append(conns, mustDial(t, p, addr))
	}
	if n := made.Load(); n < 2 || n > poolSize {
		t.Errorf("%d connections for a load of %d", n, len(conns))
	}
	for _, c := range conns {
		_ = c.Close()
		_ = c.Close() // counts once
	}
	for _, load := range p.loads() {
		if load != 0 {
			t.Errorf("loads after the end: %v", p.loads())
		}
	}
	if p.RTT() <= 0 || p.Doubtful() {
		t.Errorf("RTT %v, doubtful %t", p.RTT(), p.Doubtful())
	}
}

func (p *Pool) loads() (all []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		all = append(all, l.load)
	}
	return all
}

// A connection that breaks is made anew by itself, what was open over it is
// closed, and the log says both.
func TestPoolConnectsAgain(t *testing.T) {
	s := startServer(t)
	var log lockedBuffer
	p, _ := pooledTo(t, s, slog.New(slog.NewTextHandler(&log, nil)))
	addr := echoing(t, "tcp", "127.0.0.1:0")
	open := mustDial(t, p, addr)
	s.drop()
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("what was open still is")
	}
	_ = open.Close()
	again := mustDial(t, p, addr)
	_ = again.Close()
	for _, want := range []string{"the connection broke, connecting again", "connected again", "node=dev-manager-1"} {
		until(t, want, func() bool { return strings.Contains(log.String(), want) })
	}
}

// While nothing answers, a dial waits as long as it may, and says what is wrong.
func TestPoolDialEndsWithItsContext(t *testing.T) {
	fails := errors.New("no route to host")
	p := NewPool(t.Context(), "dev-worker-1", func(context.Context) (*Conn, error) { return nil, fails }, discard())
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	_, err := p.Dial(ctx, "tcp", "127.0.0.1:1")
	if !errors.Is(err, fails) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "dev-worker-1") {
		t.Errorf("dial: %v", err)
	}
	if !p.Doubtful() {
		t.Error("nobody doubts it")
	}
}

// What the other end refuses is no reason to connect again.
func TestPoolTellsARefusalAtOnce(t *testing.T) {
	p, made := pooledTo(t, startServer(t), discard())
	ln := listen(t)
	addr := ln.Addr().String()
	_ = ln.Close()
	if _, err := p.Dial(t.Context(), "tcp", addr); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("dial: %v", err)
	}
	if made.Load() != 1 {
		t.Errorf("%d connections", made.Load())
	}
}

func TestPoolPassesHalfCloses(t *testing.T) {
	p, _ := pooledTo(t, startServer(t), discard())
	addr := service(t, func(conn *net.TCPConn) {
		got, _ := io.ReadAll(conn)
		_, _ = conn.Write(bytes.ToUpper(got))
	})
	conn := mustDial(t, p, addr)
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "all of it")
	closeWrite(conn)
	if got, err := io.ReadAll(conn); string(got) != "ALL OF IT" || err != nil {
		t.Errorf("answered %q, %v", got, err)
	}
}

// Many connections that do nothing, over a few lines, leave no goroutine when
// they are closed: startForward sees to that.
func TestManyIdleConnectionsLeaveNothing(t *testing.T) {
	p, made := pooledTo(t, startServer(t), discard())
	addr := service(t, func(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) })
	local := forwarding(t, discard(), func(ctx context.Context) (net.Conn, error) { return p.Dial(ctx, "tcp", addr) })
	var conns []net.Conn
	for range 250 {
		conn, err := dialer(local)(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		_ = conn.SetDeadline(time.Now().Add(stuck))
		_, _ = conn.Write([]byte("x"))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if n := made.Load(); n < 2 || n > poolSize {
		t.Errorf("%d lines for %d connections", n, len(conns))
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	until(t, "an end of all", func() bool {
		for _, load := range p.loads() {
			if load > 0 {
				return false
			}
		}
		return true
	})
}

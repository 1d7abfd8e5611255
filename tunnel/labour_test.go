package tunnel

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A machine that falls silent is gone soon, but for one that is at heavy work.
func TestSilenceIsBorneWhileAMachineLabours(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var still atomic.Bool
	connected := func() *Conn {
		e := s.endpoint(t)
		e.Address = stallable(t, e.Address, &still)
		c, err := Connect(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			still.Store(false)
			_ = c.Close()
		})
		return c
	}
	idle, busy := connected(), connected()
	over := busy.Labour()
	still.Store(true)
	select {
	case <-idle.Done():
	case <-time.After(4 * keepaliveTimeout):
		t.Fatal("a silent machine is still there")
	}
	if _, err := idle.Dial(t.Context(), "unix", "/var/run/docker.sock"); err == nil || !strings.Contains(err.Error(), "nothing was heard of it for 7s") {
		t.Errorf("dialed then: %v", err)
	}
	if _, err := idle.Run(t.Context(), "true", nil); err == nil || !strings.Contains(err.Error(), "nothing was heard of it for 7s") {
		t.Errorf("run then: %v", err)
	}
	select {
	case <-busy.Done():
		t.Error("one at heavy work is gone")
	case <-time.After(keepaliveInterval):
	}
	over()
	select {
	case <-busy.Done():
	case <-time.After(4 * keepaliveTimeout):
		t.Error("it is still there after its work")
	}
}

// stallable passes connections on, and keeps them back while still is set.
func stallable(t *testing.T, to string, still *atomic.Bool) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	pass := func(to, from net.Conn) {
		defer func() { _, _ = to.Close(), from.Close() }()
		buffer := make([]byte, 1<<10)
		for {
			n, err := from.Read(buffer)
			for still.Load() {
				time.Sleep(10 * time.Millisecond)
			}
			if _, wrong := to.Write(buffer[:n]); err != nil || wrong != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			go pass(client, server)
			go pass(server, client)
		}
	}()
	return l.Addr().String()
}

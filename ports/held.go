package ports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"skep/tunnel"
)

const (
	// A connection to the local port hangs no longer than this on a service
	// that does not answer.
	dialTimeout = 30 * time.Second
	// And a check no longer than this.
	checkTimeout = 5 * time.Second
	// A tunnel whose SSH connection is dead closes only when SSH notices.
	closeTimeout = 2 * time.Second
)

var errEnding = errors.New("the tunnel process is ending")

// held is a tunnel that this process holds.
type held struct {
	Tunnel
	forwarder *tunnel.Forwarder
	cancel    context.CancelFunc
	done      chan struct{}
}

// open opens a tunnel, or returns the one that is open already. Either way the
// service was reached just now. Where it fails nothing is left, and a process
// without tunnels ends.
func (s *server) open(ctx context.Context, o openRequest) (Tunnel, error) {
	s.mu.Lock()
	if s.ending {
		s.mu.Unlock()
		return Tunnel{}, errEnding
	}
	s.opening++
	s.mu.Unlock()

	reached := s.reach(ctx, o)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening--
	defer s.endIfIdleLocked()
	if s.ending {
		return Tunnel{}, errEnding
	}
	if reached != nil {
		return Tunnel{}, reached
	}
	return s.hold(ctx, o)
}

// reach makes sure that the service can be reached.
func (s *server) reach(ctx context.Context, o openRequest) error {
	conn, err := s.dialer.DialService(ctx, o.Service, o.RemotePort)
	if err != nil {
		return fmt.Errorf("reach %s:%d of %s: %w", o.Service, o.RemotePort, s.env, err)
	}
	_ = conn.Close()
	return nil
}

// hold takes a local port and forwards it. The caller has s.mu.
func (s *server) hold(ctx context.Context, o openRequest) (Tunnel, error) {
	to := target{o.Service, o.RemotePort}
	if h := s.held[to]; h != nil {
		if o.Local != (Local{}) && o.Local != h.Local() && (o.Local != Local{Bind: h.Bind}) {
			return Tunnel{}, fmt.Errorf("a tunnel to %s of %s is open at %s already\nclose it first to open it at %s", to, s.env, h.Local(), o.Local)
		}
		return h.now(), nil
	}
	lns, at, err := s.table.claim(ctx, s.env, to, o.Local)
	if err != nil {
		return Tunnel{}, fmt.Errorf("open a tunnel to %s of %s: %w", to, s.env, err)
	}
	h := &held{
		Tunnel: Tunnel{Env: s.env, Service: to.Service, RemotePort: to.Port, LocalPort: at.Port, Bind: at.Bind, Socket: at.Socket, PID: os.Getpid(), Alive: true},
		done:   make(chan struct{}),
	}
	h.forwarder = &tunnel.Forwarder{
		Log:  s.log.With("tunnel", h.String(), "service", h.Service),
		Dial: func(ctx context.Context) (net.Conn, error) { return s.dial(ctx, h.target(), dialTimeout) },
	}
	// The tunnel outlives the request that opened it.
	ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.held[to] = h
	go s.forward(ctx, h, lns)
	s.log.Info("tunnel opened", "tunnel", h.String(), "service", h.Service)
	return h.Tunnel, nil
}

// forward runs a tunnel until it is cancelled.
func (s *server) forward(ctx context.Context, h *held, lns []net.Listener) {
	defer close(h.done)
	var running sync.WaitGroup
	for _, ln := range lns {
		running.Go(func() {
			if err := h.forwarder.Forward(ctx, ln); err != nil {
				h.forwarder.Log.Error("the tunnel broke; close it and open it again", "error", err)
			}
		})
	}
	running.Wait()
}

// dial reaches a service within the time.
func (s *server) dial(ctx context.Context, to target, most time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return s.dialer.DialService(ctx, to.Service, to.Port)
}

// now is the tunnel with what went through it so far.
func (h *held) now() Tunnel {
	t, traffic := h.Tunnel, h.forwarder.Traffic()
	t.Connections, t.Total, t.Sent, t.Received = traffic.Open, traffic.Total, traffic.Sent, traffic.Received
	return t
}

// restore opens the tunnels that the process before this one held when it was
// ended. Their services need not answer yet. What cannot be opened stays listed
// as dead.
func (s *server) restore(ctx context.Context) {
	t, err := s.table.read(ctx)
	if err != nil {
		s.log.Warn("the tunnels of before are not known", "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, was := range t.open(s.env) {
		if _, err := s.hold(ctx, openRequest{was.Service, was.RemotePort, was.Local()}); err != nil {
			s.log.Warn("a tunnel of before is not opened again", "error", err)
		}
	}
}

// check reaches the services of all tunnels at once and notes how that went.
func (s *server) check(ctx context.Context, all []Tunnel) {
	var checking sync.WaitGroup
	for i := range all {
		checking.Go(func() {
			begin := time.Now()
			conn, err := s.dial(ctx, all[i].target(), checkTimeout)
			if err != nil {
				all[i].Alive, all[i].Error = false, err.Error()
				return
			}
			all[i].LatencyMS = float64(time.Since(begin).Microseconds()) / 1000
			_ = conn.Close()
		})
	}
	checking.Wait()
}

// list lists the tunnels that the process holds.
func (s *server) list() []Tunnel {
	s.mu.Lock()
	defer s.mu.Unlock()
	var open []Tunnel
	for _, h := range s.held {
		open = append(open, h.now())
	}
	return withDead(open, nil)
}

// close closes tunnels, forgets those of a process that was killed, and
// returns both. With all closed the process ends. A damaged table is an error,
// but keeps no tunnel open.
func (s *server) close(ctx context.Context, which selection) ([]Tunnel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var closing []*held
	var closed []Tunnel
	for to, h := range s.held {
		if which.has(to) {
			delete(s.held, to)
			closing, closed = append(closing, h), append(closed, h.now())
		}
	}
	s.stop(closing)
	// Half a close, because the client left, would come back as a dead tunnel.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	var dead []Tunnel
	err := s.table.update(ctx, func(t *table) error {
		dead = t.closed(s.env, which)
		return nil
	})
	if which == (selection{}) {
		s.endLocked()
	}
	s.endIfIdleLocked()
	return withDead(closed, dead), err
}

func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*held
	for to, h := range s.held {
		delete(s.held, to)
		all = append(all, h)
	}
	s.stop(all)
}

// stop ends tunnels, and waits until their ports are free.
func (s *server) stop(all []*held) {
	for _, h := range all {
		h.cancel()
	}
	late := time.NewTimer(closeTimeout)
	defer late.Stop()
	for _, h := range all {
		select {
		case <-h.done:
			s.log.Info("tunnel closed", "tunnel", h.String(), "service", h.Service)
		case <-late.C:
			s.log.Warn("tunnels were closed, but connections over them have not ended")
			return
		}
	}
}

// endIfIdle ends a process that holds no tunnel and is opening none.
func (s *server) endIfIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endIfIdleLocked()
}

func (s *server) endIfIdleLocked() {
	if len(s.held) == 0 && s.opening == 0 {
		s.endLocked()
	}
}

func (s *server) endLocked() {
	if !s.ending {
		s.ending = true
		close(s.ended)
	}
}

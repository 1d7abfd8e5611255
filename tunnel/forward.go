package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A connection that has nothing to do holds buffers of this size only, so
	// that a thousand of them cost little.
	idleBuffer = 2 << 10
	// Larger than an SSH packet on purpose: one read of a busy local socket
	// then fills several packets of the channel's window.
	busyBuffer = 256 << 10

	// How long to wait after an accept failed, doubled from the one to the
	// other: being out of file descriptors passes, but not at once.
	firstAcceptPause   = 5 * time.Millisecond
	longestAcceptPause = time.Second
)

// Forwarder joins local connections to those that Dial makes, and counts them.
type Forwarder struct {
	// Dial makes the other end of a connection. Its ctx ends with the Forward,
	// not with the dial.
	Dial func(context.Context) (net.Conn, error)
	Log  *slog.Logger

	failing        atomic.Bool // the last dial failed
	open, total    atomic.Int64
	sent, received atomic.Int64
	buffers        sync.Pool // of *[]byte, busyBuffer long
}

// Traffic is what went through a Forwarder.
type Traffic struct {
	Open, Total    int64 // connections
	Sent, Received int64 // bytes to and from the other end
}

// Traffic tells what went through so far.
func (f *Forwarder) Traffic() Traffic {
	return Traffic{Open: f.open.Load(), Total: f.total.Load(), Sent: f.sent.Load(), Received: f.received.Load()}
}

// Forward accepts connections on ln and joins each to one of its own, with
// half-closes passed on. It owns ln. It returns nil when ctx is done, with ln
// and all connections closed and no goroutine left; an error means that ln
// failed for good, and leaves as little behind. It may run for several
// listeners at once.
func (f *Forwarder) Forward(ctx context.Context, ln net.Listener) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() {
		<-ctx.Done()
		_ = ln.Close()
	})
	log := f.Log.With("listener", ln.Addr().String())
	pause := firstAcceptPause
	for {
		local, err := ln.Accept()
		switch {
		case err == nil:
			pause = firstAcceptPause
			running.Go(func() { f.join(ctx, local, log) })
		case ctx.Err() != nil:
			return nil
		case !temporary(err):
			return fmt.Errorf("accept connections on %s: %w", ln.Addr(), err)
		default:
			log.Warn("accept failed, trying again", "error", err, "pause", pause)
			wait(ctx, pause)
			pause = min(2*pause, longestAcceptPause)
		}
	}
}

// temporary says whether an accept may succeed later: a caller that hung up
// while queued, or no file descriptors left. net.Error's own Temporary is
// deprecated as ill-defined; for accept the system's error numbers define it.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// wait returns after d, or when ctx is done.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// join dials the other end of local and copies until both directions have
// ended, one of them failed, or ctx is done.
func (f *Forwarder) join(ctx context.Context, local net.Conn, log *slog.Logger) {
	f.total.Add(1)
	f.open.Add(1)
	defer f.open.Add(-1)
	defer func() { _ = local.Close() }()
	// Connections over SSH know no deadlines: closing is what ends a copy.
	defer context.AfterFunc(ctx, func() { _ = local.Close() })()
	remote, err := f.Dial(ctx)
	if err != nil {
		f.dropped(ctx, log, err)
		return
	}
	if f.failing.Swap(false) {
		log.Info("connections go through again")
	}
	defer func() { _ = remote.Close() }()
	defer context.AfterFunc(ctx, func() { _ = remote.Close() })()

	up := &direction{to: remote, from: local, ended: make(chan struct{}), count: &f.sent}
	down := &direction{to: local, from: remote, ended: make(chan struct{}), count: &f.received}
	go f.copy(up, down)
	f.copy(down, up)
	<-up.ended
	log.Debug("a connection ended", "sent", up.taken, "received", down.taken)
}

// dropped tells of the first connection of a row that were dropped.
func (f *Forwarder) dropped(ctx context.Context, log *slog.Logger, err error) {
	if ctx.Err() != nil {
		return
	}
	level := slog.LevelWarn
	if f.failing.Swap(true) {
		level = slog.LevelDebug
	}
	log.Log(ctx, level, "a connection was dropped: its other end cannot be reached", "error", err)
}

// direction is one half of a joined connection.
type direction struct {
	to, from net.Conn
	ended    chan struct{} // closed once nothing more is copied
	taken    int64         // bytes that to took
	count    *atomic.Int64
}

// copy copies a direction until its source ends, then tells its reader so.
//
// A reader that takes no more may still have an answer under way (a server that
// refuses a large upload): the source is then read and its bytes dropped until
// that answer is through, as closing it at once would cut it.
func (f *Forwarder) copy(d, opposite *direction) {
	defer close(d.ended)
	idle := make([]byte, idleBuffer)
	var busy *[]byte
	defer func() { f.lay(busy) }()
	buffer, refused := idle, false
	for {
		n, readErr := d.from.Read(buffer)
		if n > 0 && !refused {
			m, err := d.to.Write(buffer[:n])
			d.taken += int64(m)
			d.count.Add(int64(m))
			if err != nil {
				refused = true
				go func() {
					<-opposite.ended
					_ = d.from.Close()
				}()
			}
		}
		if errors.Is(readErr, io.EOF) {
			select {
			case <-opposite.ended: // both ends are about to be closed whole
			default:
				closeWrite(d.to)
			}
			return
		}
		if readErr != nil {
			_ = d.to.Close()
			_ = d.from.Close()
			return
		}
		switch {
		case busy == nil && n == len(idle): // there is more to come
			busy = f.take()
			buffer = *busy
		case busy != nil && n < len(idle):
			f.lay(busy)
			busy, buffer = nil, idle
		}
	}
}

// take takes a large buffer, and lay lays it back.
func (f *Forwarder) take() *[]byte {
	if b, ok := f.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, busyBuffer)
	return &b
}

func (f *Forwarder) lay(b *[]byte) {
	if b != nil {
		f.buffers.Put(b)
	}
}

// closeWrite ends the writing half of conn, or all of it where it has no
// halves: its reader must learn of the end one way or the other.
func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // fails only on a connection that is gone
		return
	}
	_ = conn.Close()
}

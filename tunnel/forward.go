package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// Larger than an SSH packet on purpose: one read of a busy local socket
	// then fills several packets of the channel's window.
	forwardBuffer = 256 << 10

	// How long to wait after an accept failed, doubled from the one to the
	// other: being out of file descriptors passes, but not at once.
	firstAcceptPause   = 5 * time.Millisecond
	longestAcceptPause = time.Second
)

// Forward accepts connections on ln and joins each to one that dial makes,
// with half-closes passed on. It owns ln. It returns nil when ctx is done, with
// ln and all connections closed and no goroutine left; an error means that ln
// failed for good, and leaves as little behind.
//
// The ctx that dial gets ends with the Forward, not with the dial.
func Forward(ctx context.Context, ln net.Listener, dial func(context.Context) (net.Conn, error), log *slog.Logger) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() {
		<-ctx.Done()
		_ = ln.Close()
	})
	f := forwarder{dial: dial, log: log.With("listener", ln.Addr().String())}
	f.buffers.New = func() any { b := make([]byte, forwardBuffer); return &b }
	pause := firstAcceptPause
	for {
		local, err := ln.Accept()
		switch {
		case err == nil:
			pause = firstAcceptPause
			running.Go(func() { f.join(ctx, local) })
		case ctx.Err() != nil:
			return nil
		case !temporary(err):
			return fmt.Errorf("accept connections on %s: %w", ln.Addr(), err)
		default:
			f.log.Warn("accept failed, trying again", "error", err, "pause", pause)
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

// forwarder is what the connections of one Forward share.
type forwarder struct {
	dial    func(context.Context) (net.Conn, error)
	log     *slog.Logger
	buffers sync.Pool // of *[]byte
}

// join dials the other end of local and copies until both directions have
// ended, one of them failed, or ctx is done.
func (f *forwarder) join(ctx context.Context, local net.Conn) {
	defer func() { _ = local.Close() }()
	// Connections over SSH know no deadlines: closing is what ends a copy.
	defer context.AfterFunc(ctx, func() { _ = local.Close() })()
	remote, err := f.dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			f.log.Warn("a connection was dropped: its other end cannot be reached", "error", err)
		}
		return
	}
	defer func() { _ = remote.Close() }()
	defer context.AfterFunc(ctx, func() { _ = remote.Close() })()

	var sent, received int64
	up, upEnded := context.WithCancel(ctx)
	down, downEnded := context.WithCancel(ctx)
	var both sync.WaitGroup
	both.Go(func() { defer upEnded(); sent = f.copy(down, remote, local) })
	both.Go(func() { defer downEnded(); received = f.copy(up, local, remote) })
	both.Wait()
	f.log.Debug("a connection ended", "sent", sent, "received", received)
}

// copy copies src to dst until src ends, then tells dst's reader so, and
// returns how many bytes dst took. opposite is done when the copy from dst to
// src has ended.
//
// A dst that takes no more may still have an answer under way (a server that
// refuses a large upload): src is then read and its bytes dropped until that
// answer is through, as closing src at once would cut it.
func (f *forwarder) copy(opposite context.Context, dst, src net.Conn) (taken int64) {
	buffer := f.buffers.Get().(*[]byte)
	defer f.buffers.Put(buffer)
	refused := false
	for {
		n, readErr := src.Read(*buffer)
		if n > 0 && !refused {
			m, err := dst.Write((*buffer)[:n])
			taken += int64(m)
			if err != nil {
				refused = true
				defer context.AfterFunc(opposite, func() { _ = src.Close() })()
			}
		}
		if errors.Is(readErr, io.EOF) {
			closeWrite(dst)
			return taken
		}
		if readErr != nil {
			_ = dst.Close()
			_ = src.Close()
			return taken
		}
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

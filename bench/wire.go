//go:build linux

package main

import (
	"context"
	bytes "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	gib = 1 << 30
	mib = 1 << 20

	// wireBuffer is what one read or write of the measuring side is at most:
	// large, so that it is never the slow one.
	wireBuffer = 256 << 10
	roundTrips = 5000
	// wireTimeout ends what hangs.
	wireTimeout = 2 * time.Minute
)

// wire is an address at which the wire image answers, whatever is in between.
type wire string

// order opens a connection and asks for something: see testdata/wire.
func (w wire) order(ctx context.Context, letter byte, n int64) (*net.TCPConn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", string(w))
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(wireTimeout))
	order := bytes.BigEndian.AppendUint64([]byte{letter}, uint64(n)) // #nosec G115 -- never negative
	if _, err := conn.Write(order); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn.(*net.TCPConn), nil
}

// down takes n bytes from there.
func (w wire) down(ctx context.Context, n int64) error {
	conn, err := w.order(ctx, 'd', n)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	buffer := make([]byte, wireBuffer)
	got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, buffer)
	if err == nil && got != n {
		err = fmt.Errorf("%d of %d bytes came", got, n)
	}
	return err
}

// up sends n bytes there and waits until all have arrived.
func (w wire) up(ctx context.Context, n int64) error {
	conn, err := w.order(ctx, 'u', n)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for buffer := make([]byte, min(wireBuffer, n)); n > 0; {
		sent, err := conn.Write(buffer[:min(n, int64(len(buffer)))])
		if err != nil {
			return err
		}
		n -= int64(sent)
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

// once opens a connection, has one byte echoed and closes it.
func (w wire) once(ctx context.Context) error {
	conn, err := w.order(ctx, 'e', 0)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return echoByte(conn, make([]byte, 1))
}

func echoByte(conn net.Conn, b []byte) error {
	if _, err := conn.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, b)
	return err
}

// sequence opens n connections one after another.
func (w wire) sequence(ctx context.Context, n int) error {
	for range n {
		if err := w.once(ctx); err != nil {
			return err
		}
	}
	return nil
}

// crowd does n things, some at a time.
func crowd(ctx context.Context, n, atATime int, do func(context.Context) error) error {
	var left atomic.Int64
	left.Store(int64(n))
	g, ctx := errgroup.WithContext(ctx)
	for range atATime {
		g.Go(func() error {
			for left.Add(-1) >= 0 {
				if err := do(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// trips sends single bytes to and fro over one connection and returns how long
// half of them, and all but one of a hundred, took at most.
func (w wire) trips(ctx context.Context, n int) (p50, p99 time.Duration, err error) {
	conn, err := w.order(ctx, 'e', 0)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = conn.Close() }()
	took := make([]time.Duration, n)
	b := make([]byte, 1)
	for i := range took {
		begin := time.Now()
		if err := echoByte(conn, b); err != nil {
			return 0, 0, err
		}
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	return took[n/2], took[n*99/100], nil
}

package tunnel

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
)

// streamed is a stream and the other end of its socket.
func streamed(t *testing.T) (*stream, net.Conn) {
	t.Helper()
	ln := listen(t)
	defer func() { _ = ln.Close() }()
	raw, err := dialer(ln.Addr().String())(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := newStream(raw)
	t.Cleanup(func() {
		_ = s.Close()
		_ = other.Close()
		s.done.Wait()
	})
	return s, other
}

// Whatever the sizes of writes and reads, all bytes come, in order.
func TestStreamKeepsOrder(t *testing.T) {
	s, other := streamed(t)
	sizes := []int{1, smallWrite - 1, smallWrite, 5, 32 << 10, 7, 7, writeBehind + 1, 3}
	total := 0
	for _, n := range sizes {
		total += 20 * n
	}
	sent := make([]byte, total)
	_, _ = rand.Read(sent)
	go func() {
		rest := sent
		for range 20 {
			for _, n := range sizes {
				if m, err := s.Write(rest[:n]); m != n || err != nil {
					t.Errorf("wrote %d of %d: %v", m, n, err)
				}
				rest = rest[n:]
			}
		}
	}()
	got := make([]byte, total)
	if _, err := io.ReadFull(other, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("what came differs: %v", err)
	}

	go func() { _, _ = other.Write(sent) }()
	for rest := got; len(rest) > 0; {
		n, err := s.Read(rest[:min(len(rest), 4096)])
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if !bytes.Equal(got, sent) {
		t.Error("what was read differs")
	}
	_ = other.Close()
	if _, err := s.Read(got); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// A writer that waits for room learns of the end, and so does every later one.
func TestStreamWritersEndWithIt(t *testing.T) {
	s, _ := streamed(t) // nobody reads
	full := make(chan error, 1)
	go func() {
		for {
			if _, err := s.Write(make([]byte, 32<<10)); err != nil {
				full <- err
				return
			}
		}
	}()
	_ = s.Close()
	if err := within(t, "the end of a write", full); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after the end: %v", err)
	}
}

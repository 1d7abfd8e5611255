package tunnel

import (
	"cmp"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// One read of the socket takes several SSH packets, of 32 KiB at most: the
	// library by itself reads each in two or three pieces.
	readAhead = 128 << 10
	// A write of the library's that is smaller is a packet by itself; a larger
	// packet comes in pieces.
	smallWrite = 4 << 10
	// So much may wait to be written before a writer has to wait.
	writeBehind = 256 << 10
)

// stream is a socket under an SSH connection with larger reads and fewer
// writes. Small packets go out at once; large ones are gathered by a goroutine,
// which writes while the next one is being encrypted. It holds a read buffer
// only while the reader has not taken all of it.
type stream struct {
	net.Conn

	ahead []byte // read, and not yet taken
	room  []byte
	heard atomic.Int64 // when something was read last, in nanoseconds since begun
	begun time.Time

	mu      sync.Mutex
	changed sync.Cond // pending grew or shrank, or the end came
	pending []byte    // to be written, in order
	spare   []byte    // the other of the two buffers
	busy    bool      // somebody writes to the socket
	err     error     // why no write succeeds any more
	why     error     // it was given up
	done    sync.WaitGroup
}

func newStream(raw net.Conn) *stream {
	s := &stream{Conn: raw, begun: time.Now()}
	s.changed.L = &s.mu
	s.done.Go(s.flush)
	return s
}

// Read is called by one goroutine at a time, as the library does.
func (s *stream) Read(p []byte) (int, error) {
	if len(s.ahead) == 0 {
		if s.room == nil {
			s.room = make([]byte, readAhead)
		}
		n, err := s.Conn.Read(s.room)
		s.heard.Store(int64(time.Since(s.begun)))
		s.ahead = s.room[:n]
		if n == 0 {
			return 0, cmp.Or(s.givenUp(), err)
		}
	}
	n := copy(p, s.ahead)
	s.ahead = s.ahead[n:]
	return n, nil
}

// Write takes all of p; an error is that of an earlier write.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	for len(s.pending) >= writeBehind && s.err == nil {
		s.changed.Wait()
	}
	if s.err != nil {
		return 0, s.err
	}
	s.pending = append(s.pending, p...)
	if !s.busy {
		s.changed.Broadcast()
	}
	return len(p), nil
}

func (s *stream) fail(err error) {
	if err != nil && s.err == nil {
		s.err = err
		s.changed.Broadcast()
	}
}

// flush writes what is pending until the end.
func (s *stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for (len(s.pending) == 0 || s.busy) && s.err == nil {
			s.changed.Wait()
		}
		if s.err != nil {
			return
		}
		out := s.pending
		s.pending, s.spare = s.spare[:0], nil
		s.busy = true
		s.mu.Unlock()
		_, err := s.Conn.Write(out)
		s.mu.Lock()
		s.busy = false
		s.spare = out[:0]
		s.fail(err)
		s.changed.Broadcast()
	}
}

// Close drops what is pending: a connection that is closed is not read any more.
func (s *stream) Close() error {
	err := s.Conn.Close()
	s.mu.Lock()
	s.fail(net.ErrClosed)
	s.mu.Unlock()
	return err
}

// giveUp ends the connection for a reason, which reads and writes then tell.
func (s *stream) giveUp(why error) {
	s.mu.Lock()
	s.why = why
	s.fail(why)
	s.mu.Unlock()
	_ = s.Conn.Close()
}

func (s *stream) givenUp() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// silent is how long nothing was heard of the other end.
func (s *stream) silent() time.Duration {
	return time.Since(s.begun) - time.Duration(s.heard.Load())
}

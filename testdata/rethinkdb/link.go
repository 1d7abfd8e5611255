package main

import (
	"bufio"
	"encoding/gob"
	"log"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A peer that nothing was heard from for six intervals is dropped: after 12 to 14 seconds.
const (
	heartbeatInterval = 2 * time.Second
	heartbeatsMissed  = 5
)

// link is a connection to another server: a stream of gob values each way.
type link struct {
	conn    net.Conn
	log     *log.Logger
	remote  string
	peer    hello
	address address // of the peer, as it was looked up when we met

	decoder *gob.Decoder
	sending sync.Mutex
	buffer  *bufio.Writer
	encoder *gob.Encoder
	heard   atomic.Bool
	said    atomic.Bool

	asking sync.Mutex
	lastID uint64
	asked  map[uint64]chan<- response
	gone   chan struct{} // closed when the connection is over
}

func newLink(conn net.Conn, logger *log.Logger) *link {
	buffer := bufio.NewWriterSize(conn, 1<<16)
	return &link{
		conn: conn, log: logger, remote: conn.RemoteAddr().String(),
		decoder: gob.NewDecoder(bufio.NewReaderSize(conn, 1<<16)), buffer: buffer, encoder: gob.NewEncoder(buffer),
		asked: map[uint64]chan<- response{}, gone: make(chan struct{}),
	}
}

func (l *link) send(value any) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	l.said.Store(true)
	if err := l.encoder.Encode(value); err != nil {
		return err
	}
	return l.buffer.Flush()
}

func (l *link) receive(value any) error { return l.decoder.Decode(value) }

// tell closes the connection if it does not get through: run ends then.
func (l *link) tell(m message) {
	if l.send(m) != nil {
		l.conn.Close()
	}
}

// run passes what the peer says to hear, until the connection breaks or falls silent.
func (l *link) run(hear func(message)) {
	var beating sync.WaitGroup
	beating.Go(l.beat)
	defer beating.Wait()
	defer l.conn.Close()
	defer close(l.gone)

	for {
		var m message
		if l.receive(&m) != nil {
			return
		}
		l.heard.Store(true)
		if m.Response != nil {
			l.answered(*m.Response)
			continue
		}
		hear(m)
	}
}

func (l *link) beat() {
	tick := time.NewTicker(heartbeatInterval)
	defer tick.Stop()
	for missed := 0; ; {
		select {
		case <-tick.C:
		case <-l.gone:
			return
		}
		if missed > heartbeatsMissed {
			l.log.Printf("error: Heartbeat timeout, killing connection to peer %s", l.remote)
			l.conn.Close()
			return
		}
		if !l.said.Swap(false) {
			go l.tell(message{}) // a full buffer must not stop the count
		}
		if l.heard.Swap(false) {
			missed = 0
		} else {
			missed++
		}
	}
}

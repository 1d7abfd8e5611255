package main

import (
	"encoding/json"
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

// link is a connection to another server: a stream of JSON values each way.
type link struct {
	conn    net.Conn
	log     *log.Logger
	remote  string
	peer    hello
	address address // of the peer, as it was looked up when we met

	decoder *json.Decoder
	sending sync.Mutex
	encoder *json.Encoder
	heard   atomic.Bool
	said    atomic.Bool
}

// message is what servers say once they are connected. An empty one is a heartbeat.
type message struct {
	Databases map[string]string `json:",omitempty"`
}

func newLink(conn net.Conn, logger *log.Logger) *link {
	return &link{
		conn: conn, log: logger, remote: conn.RemoteAddr().String(),
		decoder: json.NewDecoder(conn), encoder: json.NewEncoder(conn),
	}
}

func (l *link) send(value any) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	l.said.Store(true)
	return l.encoder.Encode(value)
}

func (l *link) receive(value any) error { return l.decoder.Decode(value) }

// tell closes the connection if it does not get through: run ends then.
func (l *link) tell(databases map[string]string) {
	if l.send(message{databases}) != nil {
		l.conn.Close()
	}
}

// run passes what the peer says to merge, until the connection breaks or falls silent.
func (l *link) run(databases map[string]string, merge func(map[string]string)) {
	done := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() { l.beat(done) })
	defer beating.Wait()
	defer l.conn.Close()
	defer close(done)

	l.tell(databases)
	for {
		var m message
		if l.receive(&m) != nil {
			return
		}
		l.heard.Store(true)
		if len(m.Databases) > 0 {
			merge(m.Databases)
		}
	}
}

func (l *link) beat(done <-chan struct{}) {
	tick := time.NewTicker(heartbeatInterval)
	defer tick.Stop()
	for missed := 0; ; {
		select {
		case <-tick.C:
		case <-done:
			return
		}
		if missed > heartbeatsMissed {
			l.log.Printf("error: Heartbeat timeout, killing connection to peer %s", l.remote)
			l.conn.Close()
			return
		}
		if !l.said.Swap(false) {
			go l.tell(nil) // a full buffer must not stop the count
		}
		if l.heard.Swap(false) {
			missed = 0
		} else {
			missed++
		}
	}
}

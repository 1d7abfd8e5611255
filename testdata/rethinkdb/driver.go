package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"gopkg.in/rethinkdb/rethinkdb-go.v6/ql2"
)

// serveDrivers takes clients on the driver port.
func serveDrivers(ctx context.Context, listeners []net.Listener, m *mesh) {
	for _, listener := range listeners {
		go accept(ctx, listener, func(conn net.Conn) {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			c := &client{mesh: m, conn: conn, reader: bufio.NewReaderSize(conn, 1<<16), cursors: map[uint64]*cursor{}}
			if err := c.greet(); err != nil {
				m.log.Printf("warn: client %s: %v", conn.RemoteAddr(), err)
				return
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			c.serve(ctx)
		})
	}
}

// client is a connection of a driver: frames of a token, a length and JSON, each way, any number of queries at once.
type client struct {
	mesh   *mesh
	conn   net.Conn
	reader *bufio.Reader

	sending sync.Mutex
	unasked sync.WaitGroup // queries that want no answer

	mu      sync.Mutex
	cursors map[uint64]*cursor
}

// cursor is a query's result of which the client has not had all. Its queries come one after another.
type cursor struct {
	mu     sync.Mutex
	stream *stream
}

const (
	longestQuery = 128 << 20 // of the real server too
	greetingTime = 15 * time.Second
)

func (c *client) greet() error {
	if err := c.conn.SetDeadline(time.Now().Add(greetingTime)); err != nil {
		return err
	}
	_, err := greet(c.conn, c.reader, func(user string) (credentials, bool) {
		return c.mesh.store.credentials(), user == admin
	})
	if err != nil {
		return err
	}
	return c.conn.SetDeadline(time.Time{})
}

func (c *client) serve(ctx context.Context) {
	for {
		var head [12]byte
		if _, err := io.ReadFull(c.reader, head[:]); err != nil {
			return
		}
		token, size := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint32(head[8:])
		if size > longestQuery {
			return
		}
		text := make([]byte, size)
		if _, err := io.ReadFull(c.reader, text); err != nil {
			return
		}
		var q question
		if err := q.parse(text); err != nil {
			c.reply(token, reply{Type: ql2.Response_CLIENT_ERROR, Rows: []any{"Query parse error: " + err.Error()}})
			continue
		}
		if q.noreply {
			c.unasked.Add(1)
		}
		go c.answer(ctx, token, &q)
	}
}

// question is a query as the wire has it: [kind, term, options].
type question struct {
	kind    ql2.Query_QueryType
	term    any
	options map[string]any
	noreply bool
}

func (q *question) parse(text []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil || len(parts) == 0 {
		return errors.New("the query is no array")
	}
	if err := json.Unmarshal(parts[0], &q.kind); err != nil {
		return err
	}
	if len(parts) > 1 {
		// A query without a term has its options in its place.
		if err := json.Unmarshal(parts[1], &q.term); err != nil {
			return err
		}
	}
	q.options, _ = q.term.(map[string]any)
	if len(parts) > 2 {
		if err := json.Unmarshal(parts[2], &q.options); err != nil {
			return err
		}
	}
	q.noreply = q.options["noreply"] == true
	return nil
}

type reply struct {
	Type      ql2.Response_ResponseType `json:"t"`
	Rows      []any                     `json:"r"`
	Error     failure                   `json:"e,omitempty"`
	Backtrace []any                     `json:"b,omitempty"`
	Notes     []any                     `json:"n"`
}

func (c *client) answer(ctx context.Context, token uint64, q *question) {
	var r reply
	switch q.kind {
	case ql2.Query_START:
		r = c.start(ctx, token, q)
	case ql2.Query_CONTINUE:
		r = c.more(ctx, token)
	case ql2.Query_STOP:
		c.stop(token)
		r = reply{Type: ql2.Response_SUCCESS_SEQUENCE}
	case ql2.Query_NOREPLY_WAIT:
		c.unasked.Wait()
		r = reply{Type: ql2.Response_WAIT_COMPLETE}
	case ql2.Query_SERVER_INFO:
		self := c.mesh.store.identity()
		r = reply{Type: ql2.Response_SERVER_INFO, Rows: []any{map[string]any{
			"id": self.ServerID, "name": self.Name, "proxy": false,
		}}}
	default:
		r = reply{Type: ql2.Response_CLIENT_ERROR, Rows: []any{fmt.Sprintf("Unknown query type %d", q.kind)}}
	}
	if q.noreply {
		c.unasked.Done()
		return
	}
	c.reply(token, r)
}

func (c *client) start(ctx context.Context, token uint64, q *question) reply {
	e := &evaluation{mesh: c.mesh, terms: terms(), options: q.options}
	value, err := e.run(ctx, q.term)
	if err != nil {
		return failed(err)
	}
	s, ok := value.(*stream)
	if !ok {
		value, err := settled(ctx, value)
		if err != nil {
			return failed(err)
		}
		return reply{Type: ql2.Response_SUCCESS_ATOM, Rows: []any{value}}
	}
	c.mu.Lock()
	c.cursors[token] = &cursor{stream: s}
	c.mu.Unlock()
	return c.more(ctx, token)
}

func (c *client) more(ctx context.Context, token uint64) reply {
	c.mu.Lock()
	found := c.cursors[token]
	c.mu.Unlock()
	if found == nil {
		return reply{Type: ql2.Response_CLIENT_ERROR, Rows: []any{fmt.Sprintf("Token %d not in stream cache.", token)}}
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	r := reply{Type: ql2.Response_SUCCESS_PARTIAL}
	for len(r.Rows) == 0 && r.Type == ql2.Response_SUCCESS_PARTIAL {
		rows, more, err := found.stream.next(ctx)
		if err != nil {
			c.stop(token)
			return failed(err)
		}
		for _, one := range rows {
			r.Rows = append(r.Rows, one.shown())
		}
		if !more {
			c.stop(token)
			r.Type = ql2.Response_SUCCESS_SEQUENCE
		}
	}
	return r
}

func (c *client) stop(token uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.cursors, token)
}

func failed(err error) reply {
	kind := failureOf(err)
	r := reply{Type: ql2.Response_RUNTIME_ERROR, Rows: []any{err.Error()}, Error: kind, Backtrace: []any{}}
	if kind == compileError {
		r.Type, r.Error = ql2.Response_COMPILE_ERROR, 0
	}
	if kind == notLeader {
		r.Error = opFailed
	}
	return r
}

func (c *client) reply(token uint64, r reply) {
	if r.Rows == nil {
		r.Rows = []any{}
	}
	if r.Notes == nil {
		r.Notes = []any{}
	}
	text := canonical(r)
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, len(text)+12), token)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	c.sending.Lock()
	defer c.sending.Unlock()
	if _, err := c.conn.Write(append(b, text...)); err != nil {
		c.conn.Close() // the reader ends then
	}
}

// Package rethink is RethinkDB from the inside, through its official driver:
// whether the cluster is whole, where the replicas of tables are, and its data
// in and out of an archive.
//
// It is given the way to one server and must not know how that server came to
// be: services deploys it.
package rethink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"skep/tunnel"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// Access is how to reach a server and be let in.
type Access struct {
	// Dial connects to the driver port of any server.
	Dial     func(context.Context) (net.Conn, error)
	Password string
	TLS      *tls.Config // nil where the server speaks plainly
}

// ErrPassword is what a server says to a wrong password.
var ErrPassword = errors.New("the server refuses the admin password")

// handshakeTimeout bounds the time from the first byte to being let in: a
// server that is still joining accepts and says nothing.
const handshakeTimeout = 5 * time.Second

// Session is an admin's connection to one server. Its queries see the whole
// cluster that this server belongs to.
type Session struct {
	*r.Session
	stop func()
}

// Connect opens a session of so many connections. The driver dials TCP and
// nothing else, so it gets a port on loopback that leads to the server for as
// long as the session lives.
func Connect(ctx context.Context, access Access, connections int) (*Session, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a port for the driver: %w", err)
	}
	forward, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	// What the driver says of a connection that was cut is enough.
	leads := &tunnel.Forwarder{Dial: access.Dial, Log: slog.New(slog.DiscardHandler)}
	go func() {
		defer close(ended)
		_ = leads.Forward(forward, ln)
	}()
	stop := func() { cancel(); <-ended }
	patience, enough := context.WithTimeout(ctx, handshakeTimeout)
	defer enough()
	defer context.AfterFunc(patience, cancel)() // cuts a handshake that hangs
	session, err := r.Connect(r.ConnectOpts{
		Address: ln.Addr().String(), Username: "admin", Password: access.Password, TLSConfig: access.TLS,
		Timeout: handshakeTimeout, InitialCap: connections, MaxOpen: connections, NumRetries: 1,
	})
	if err != nil {
		stop()
		return nil, because(ctx, err)
	}
	return &Session{Session: session, stop: stop}, nil
}

// Close ends the session and what leads to the server.
func (s *Session) Close() {
	_ = s.Session.Close(r.CloseOpts{NoReplyWait: false})
	s.stop()
}

// because is the reason of a failure: what ended the context, a refused
// password, or the driver's own words in one line.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var auth r.RQLAuthError
	if errors.As(err, &auth) || strings.Contains(err.Error(), "Wrong password") {
		return ErrPassword
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(err.Error()), "rethinkdb: "), "\n")
	return errors.New(strings.TrimSuffix(line, " in:"))
}

// system is a table of the cluster's own database.
func system(table string) r.Term { return r.DB("rethinkdb").Table(table) }

// all reads every row of a query.
func all[T any](ctx context.Context, s *Session, query r.Term) ([]T, error) {
	rows, err := query.Run(s.Session, r.RunOpts{Context: ctx})
	if err != nil {
		return nil, because(ctx, err)
	}
	var found []T
	if err := rows.All(&found); err != nil {
		return nil, because(ctx, err)
	}
	return found, nil
}

// run runs a query that changes something, and fails where any part of it did.
func (s *Session) run(ctx context.Context, query r.Term) (r.WriteResponse, error) {
	done, err := query.RunWrite(s.Session, r.RunOpts{Context: ctx})
	if err == nil && done.Errors > 0 {
		err = errors.New(done.FirstError)
	}
	if err != nil {
		return done, because(ctx, err)
	}
	return done, nil
}

// SetPassword changes the admin's password.
func (s *Session) SetPassword(ctx context.Context, password string) error {
	if _, err := s.run(ctx, system("users").Get("admin").Update(map[string]any{"password": password})); err != nil {
		return fmt.Errorf("set the admin password: %w", err)
	}
	return nil
}

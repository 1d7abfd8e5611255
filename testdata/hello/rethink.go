package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// rethink talks to one server of a RethinkDB cluster as long as that answers, and then to another: names are looked up
// and tried anew, so it finds the servers that live now.
type rethink struct {
	hosts    []string // host:port
	database string
	password string
	tls      *tls.Config

	mu      sync.Mutex
	session *r.Session
}

// dialTime is how long one server may take to let us in before the next is tried.
const dialTime = time.Second

// silence is how long a server may take for one document.
const silence = 2 * time.Second

func newRethink(env func(string) string) (*rethink, error) {
	d := &rethink{database: env("RETHINKDB_DATABASE")}
	if d.database == "" {
		d.database = "test"
	}
	for host := range strings.SplitSeq(env("RETHINKDB_ADDRESSES"), ",") {
		host = strings.TrimSpace(host)
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(host, "28015")
		}
		d.hosts = append(d.hosts, host)
	}
	if file := env("RETHINKDB_PASSWORD_FILE"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("RETHINKDB_PASSWORD_FILE: %w", err)
		}
		d.password = strings.TrimRight(string(text), "\r\n")
	}
	return d, d.secure(env)
}

func (d *rethink) secure(env func(string) string) error {
	file := env("RETHINKDB_CA_FILE")
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("RETHINKDB_CA_FILE: %w", err)
	}
	d.tls = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: env("RETHINKDB_SERVER_NAME"), MinVersion: tls.VersionTLS12}
	if !d.tls.RootCAs.AppendCertsFromPEM(text) {
		return fmt.Errorf("RETHINKDB_CA_FILE: %s has no certificate", file)
	}
	if cert := env("RETHINKDB_CERT_FILE"); cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, env("RETHINKDB_KEY_FILE"))
		if err != nil {
			return fmt.Errorf("RETHINKDB_CERT_FILE: %w", err)
		}
		d.tls.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// connected returns the session that there is, or a new one.
func (d *rethink) connected(ctx context.Context) (*r.Session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session != nil {
		return d.session, nil
	}
	err := error(nil)
	for _, to := range d.servers(ctx) {
		if ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
		// The driver leaks a goroutine for each session that does not come about.
		probe, e := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", to.address)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		_ = probe.Close() // nothing was said
		options := r.ConnectOpts{Address: to.address, Password: d.password, Timeout: dialTime, MaxOpen: 8}
		if d.tls != nil {
			options.TLSConfig = d.tls.Clone()
			if options.TLSConfig.ServerName == "" {
				options.TLSConfig.ServerName = to.name
			}
		}
		session, e := r.Connect(options)
		if e == nil {
			d.session = session
			return session, nil
		}
		err = errors.Join(err, fmt.Errorf("%s: %w", to.address, e))
	}
	if err == nil {
		err = fmt.Errorf("none of %s resolves", strings.Join(d.hosts, ", "))
	}
	return nil, err
}

type serverAddress struct{ name, address string }

// servers are all that the names mean now, in any order, so that apps spread over them.
func (d *rethink) servers(ctx context.Context) (all []serverAddress) {
	for _, one := range d.hosts {
		host, port, _ := net.SplitHostPort(one) // it was made so
		ips, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			continue // the other names may do
		}
		for _, ip := range ips {
			all = append(all, serverAddress{host, net.JoinHostPort(ip, port)})
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// drop forgets a session that failed. Others may have replaced it already.
func (d *rethink) drop(failed *r.Session) {
	d.mu.Lock()
	if d.session == failed {
		d.session = nil
	}
	d.mu.Unlock()
	_ = failed.Close() // its connection is broken anyway
}

func (d *rethink) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session != nil {
		_ = d.session.Close()
	}
}

// do runs a query that may be run twice: one that fails because its server is gone, or says nothing for so long, is tried
// with the next.
func (d *rethink) do(ctx context.Context, silence time.Duration, query func(*r.Session, r.RunOpts) error) error {
	for {
		session, err := d.connected(ctx)
		if err != nil {
			return err
		}
		attempt, cancel := context.WithTimeout(ctx, silence)
		err = query(session, r.RunOpts{Context: attempt})
		cancel()
		if err == nil || answered(err) {
			return err
		}
		d.drop(session)
		if ctx.Err() != nil {
			return err
		}
	}
}

// answered tells whether the server itself said no, or that there is nothing.
func answered(err error) bool {
	runtime, client, compile := new(r.RQLRuntimeError), new(r.RQLClientError), new(r.RQLCompileError)
	opFailed, unsure, missing := new(r.RQLOpFailedError), new(r.RQLOpIndeterminateError), new(r.RQLNonExistenceError)
	logic, internal := new(r.RQLQueryLogicError), new(r.RQLInternalError)
	for _, kind := range []any{runtime, client, compile, opFailed, unsure, missing, logic, internal} {
		if errors.As(err, kind) {
			return true
		}
	}
	return errors.Is(err, r.ErrEmptyResult)
}

func (d *rethink) table(name string) r.Term { return r.DB(d.database).Table(name) }

// text is that of any document of the table hello.
func (d *rethink) text(ctx context.Context) (string, error) {
	var found struct{ Text string }
	err := d.do(ctx, silence, func(session *r.Session, options r.RunOpts) error {
		return one(d.table("hello").Limit(1), session, options, &found)
	})
	if errors.Is(err, r.ErrEmptyResult) {
		return "", errors.New("the table hello is empty")
	}
	return found.Text, err
}

func one(q r.Term, session *r.Session, options r.RunOpts, to any) error {
	cursor, err := q.Run(session, options)
	if err != nil {
		return err
	}
	return cursor.One(to)
}

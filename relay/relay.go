// Package relay is the way into an environment's overlay networks: a SOCKS5
// server that runs as a task on them and so resolves and reaches services and
// tasks by name. A tunnel leads to it. Its image is skep itself and nothing
// else, made here and sent to the nodes, so that no registry has to have it.
//
// It depends on swarm for the engines. It must not know what a tunnel, a
// database or a machine is.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"
)

// Port is where the relay listens.
const Port = 1080

const (
	handshakeTimeout = 30 * time.Second
	dialTimeout      = 10 * time.Second
)

// Run serves until ctx is done. It listens where the task's node reaches it,
// and on none of the overlay networks: nobody on them is to use it.
func Run(ctx context.Context, log *slog.Logger) error {
	host, err := outward(ctx)
	if err != nil {
		return fmt.Errorf("find the way out of this container: %w", err)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(Port)))
	if err != nil {
		return err
	}
	log.Info("relay listens", "addr", ln.Addr().String())
	s := server{resolver: net.DefaultResolver, log: log}
	return s.serve(ctx, ln)
}

// outward is the address of the network that leads out. No packet is sent.
func outward(ctx context.Context) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp4", "192.0.2.1:9")
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	return host, err
}

// resolver is net.Resolver, as much of it as is used.
type resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

type server struct {
	resolver resolver
	log      *slog.Logger
}

// serve answers on ln, which it owns, until ctx is done.
func (s server) serve(ctx context.Context, ln net.Listener) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			running.Go(func() { s.answer(ctx, conn) })
		case ctx.Err() != nil:
			return nil
		default:
			return err
		}
	}
}

// answer serves one client.
func (s server) answer(ctx context.Context, client net.Conn) {
	defer func() { _ = client.Close() }()
	defer context.AfterFunc(ctx, func() { _ = client.Close() })()
	_ = client.SetDeadline(time.Now().Add(handshakeTimeout))
	to, err := request(client)
	if err == nil {
		var conn net.Conn
		if conn, err = s.dial(ctx, to); err == nil {
			defer func() { _ = conn.Close() }()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			_ = client.SetDeadline(time.Time{})
			if reply(client, succeeded) == nil {
				join(client, conn)
			}
			return
		}
		s.log.Warn("not reached", "to", net.JoinHostPort(to.host, strconv.Itoa(to.port)), "error", err)
	}
	_ = reply(client, code(err))
}

// dial reaches a name or an address. Of a service all tasks are asked for
// first: its own name may stand for a virtual address, which goes nowhere on
// nodes whose kernel balances none.
func (s server) dial(ctx context.Context, to destination) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	hosts := []string{to.host}
	if net.ParseIP(to.host) == nil {
		var err error
		if hosts, err = s.resolve(ctx, to.host); err != nil {
			return nil, err
		}
	}
	var errs []error
	deadline, _ := ctx.Deadline()
	for i, host := range hosts {
		// One that is gone must leave time for the others.
		dialer := net.Dialer{Timeout: time.Until(deadline) / time.Duration(len(hosts)-i)}
		conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(to.port)))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// resolve asks for the tasks of a service and for the plain name at once: what
// is neither is asked of servers outside, which may never answer.
func (s server) resolve(ctx context.Context, name string) ([]string, error) {
	type answer struct {
		hosts []string
		err   error
	}
	tasks, plain := make(chan answer, 1), make(chan answer, 1)
	ask := func(name string, to chan<- answer) {
		hosts, err := s.resolver.LookupHost(ctx, name)
		to <- answer{hosts, err}
	}
	go ask("tasks."+name, tasks)
	go ask(name, plain)
	a := <-plain
	patience := time.NewTimer(200 * time.Millisecond)
	defer patience.Stop()
	if a.err != nil {
		patience.Stop()
	}
	select {
	case t := <-tasks:
		if t.err == nil {
			return t.hosts, nil
		}
	case <-patience.C:
	case <-ctx.Done():
	}
	return a.hosts, a.err
}

// join copies both ways until both have ended.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			if _, err := io.Copy(way[0], way[1]); err != nil {
				_ = way[0].Close()
				_ = way[1].Close()
			}
			if half, ok := way[0].(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
		})
	}
	both.Wait()
}

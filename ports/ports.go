// Package ports keeps the tunnels of environments as their users know them: a
// port on this machine that reaches a service of an environment, that outlives
// the command which opened it, and that is the same one tomorrow.
//
// One background process per environment holds all its tunnels. It is the same
// binary, run as `skep tunnel serve ENV`, which calls Serve. A Client in any
// other skep starts that process when it is needed and talks to it over a unix
// socket. The table, a file that all of them share under a lock, gives each
// environment its ports for good.
//
// It depends on home for paths and on tunnel for forwarding. It must not know
// how a service is reached (a Dialer does), nor what a machine, a provider or
// a swarm is. Names of environments reach it already checked.
package ports

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
)

// Tunnel is a local end that reaches a service of an environment.
type Tunnel struct {
	Env        string `json:"env"`
	Service    string `json:"service"`
	RemotePort int    `json:"remote_port"`
	LocalPort  int    `json:"local_port"`       // 0 where Socket is the local end
	Bind       string `json:"bind,omitempty"`   // the address of LocalPort, "" for this machine's own
	Socket     string `json:"socket,omitempty"` // path of a unix socket
	PID        int    `json:"pid"`              // of the process that holds it, 0 when none does
	Alive      bool   `json:"alive"`            // that process answered, and so did the service when it was asked

	Connections int64   `json:"connections"`          // open ones
	Total       int64   `json:"total"`                // all that there were
	Sent        int64   `json:"sent"`                 // bytes to the service
	Received    int64   `json:"received"`             // and from it
	LatencyMS   float64 `json:"latency_ms,omitempty"` // of a new connection; only where it was asked for
	Error       string  `json:"error,omitempty"`      // why the service does not answer
}

// Local is where a tunnel is to be reached on this machine. The zero Local is
// the port that the table gives, on 127.0.0.1 and ::1.
type Local struct {
	Port   int    `json:"port"`
	Bind   string `json:"bind,omitempty"`   // an address instead of those
	Socket string `json:"socket,omitempty"` // path of a unix socket instead of a port
}

// String is what a client connects to.
func (l Local) String() string {
	switch {
	case l.Socket != "":
		return l.Socket
	case l.Bind != "":
		return net.JoinHostPort(l.Bind, strconv.Itoa(l.Port))
	}
	return net.JoinHostPort("localhost", strconv.Itoa(l.Port))
}

// Local is the tunnel's local end.
func (t Tunnel) Local() Local { return Local{t.LocalPort, t.Bind, t.Socket} }

// String is what skep prints of a tunnel: `localhost:8081 -> tst:8080`.
func (t Tunnel) String() string {
	return fmt.Sprintf("%s -> %s:%d", t.Local(), t.Env, t.RemotePort)
}

// Dialer reaches the services of one environment. As with net.Dialer, ctx is
// for the dialling alone: the connection outlives it.
type Dialer interface {
	DialService(ctx context.Context, service string, port int) (net.Conn, error)
}

// target is what a tunnel of an environment reaches.
type target struct {
	Service string
	Port    int
}

func (t target) String() string { return t.Service + ":" + strconv.Itoa(t.Port) }

func (t Tunnel) target() target { return target{t.Service, t.RemotePort} }

// selection is some of an environment's tunnels: an empty Service means all
// services, a Port of 0 all ports.
type selection target

func (s selection) has(t target) bool {
	return (s.Service == "" || s.Service == t.Service) && (s.Port == 0 || s.Port == t.Port)
}

// withDead returns live, and those of dead that live does not have, in order.
func withDead(live, dead []Tunnel) []Tunnel {
	all := append([]Tunnel{}, live...) // never nil: it becomes JSON
	for _, d := range dead {
		if !slices.ContainsFunc(live, func(l Tunnel) bool { return l.Env == d.Env && l.target() == d.target() }) {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b Tunnel) int {
		return cmp.Or(cmp.Compare(a.Env, b.Env), cmp.Compare(a.Service, b.Service), cmp.Compare(a.RemotePort, b.RemotePort))
	})
	return all
}

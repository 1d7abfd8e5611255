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

// Tunnel is a local port that reaches a service of an environment.
type Tunnel struct {
	Env        string `json:"env"`
	Service    string `json:"service"`
	RemotePort int    `json:"remote_port"`
	LocalPort  int    `json:"local_port"`
	PID        int    `json:"pid"`   // of the process that holds it, 0 when none does
	Alive      bool   `json:"alive"` // that process answered
}

// String is what skep prints of a tunnel: `localhost:8081 -> tst:8080`.
func (t Tunnel) String() string {
	return fmt.Sprintf("localhost:%d -> %s:%d", t.LocalPort, t.Env, t.RemotePort)
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

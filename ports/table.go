package ports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
)

const (
	maxPort = 65535
	// Below it, ports need privileges: a search that starts above never
	// comes down there.
	firstFreePort = 1024
)

// table is which ports the tunnels of all environments have.
type table struct {
	Environments map[string]environment `json:"environments"`
}

// environment is one environment's part of the table.
type environment struct {
	Offset  int      `json:"offset"` // local port less remote port; kept for good
	Tunnels []record `json:"tunnels"`
}

// record is the local port that a tunnel got last. It is kept after the tunnel
// is closed, so that opening it again gives the same port.
type record struct {
	Service    string `json:"service"`
	RemotePort int    `json:"remote_port"`
	LocalPort  int    `json:"local_port"`
	Bind       string `json:"bind,omitempty"`
	Socket     string `json:"socket,omitempty"`
	Open       bool   `json:"open"` // opened, and not closed by its user since
}

func (r record) target() target { return target{r.Service, r.RemotePort} }

func parseTable(text []byte) (table, error) {
	var t table
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&t); err != nil {
		return table{}, err
	}
	if rest := bytes.TrimSpace(text[decoder.InputOffset():]); len(rest) > 0 {
		return table{}, fmt.Errorf("%d bytes follow its end", len(rest))
	}
	for name, env := range t.Environments {
		if env.Offset < 0 || env.Offset > maxPort {
			return table{}, fmt.Errorf("environment %s has the offset %d", name, env.Offset)
		}
		for _, r := range env.Tunnels {
			if r.Service == "" || !isPort(r.RemotePort) || !isPort(r.LocalPort) && (r.Socket == "" || r.LocalPort != 0) {
				return table{}, fmt.Errorf("environment %s has a tunnel from port %d to %s", name, r.LocalPort, r.target())
			}
		}
	}
	return t, nil
}

func (t *table) encode() ([]byte, error) {
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the tunnel table: %w", err)
	}
	return append(text, '\n'), nil
}

func isPort(n int) bool { return n >= 1 && n <= maxPort }

// add gives env the lowest unused offset, unless it has one.
func (t *table) add(env string) {
	if _, ok := t.Environments[env]; ok {
		return
	}
	if t.Environments == nil {
		t.Environments = map[string]environment{}
	}
	used := map[int]bool{}
	for _, e := range t.Environments {
		used[e.Offset] = true
	}
	offset := 0
	for used[offset] {
		offset++
	}
	t.Environments[env] = environment{Offset: offset, Tunnels: []record{}}
}

// candidates yields the local ports to try for a tunnel, best first: the one
// it had, then upwards from its natural one those that no other tunnel was
// given, and only then those of others.
func (t *table) candidates(env string, to target) iter.Seq[int] {
	return func(yield func(int) bool) {
		given := map[int]bool{}
		for name, e := range t.Environments {
			for _, r := range e.Tunnels {
				if name != env || r.target() != to {
					given[r.LocalPort] = true
				} else if isPort(r.LocalPort) && !yield(r.LocalPort) {
					return
				}
			}
		}
		natural := to.Port + t.Environments[env].Offset
		for _, others := range []bool{false, true} {
			for port := range portsFrom(natural) {
				if given[port] == others && !yield(port) {
					return
				}
			}
		}
	}
}

// portsFrom yields each port once, upwards from first and round again.
func portsFrom(first int) iter.Seq[int] {
	return func(yield func(int) bool) {
		if first > maxPort {
			first = firstFreePort + (first-maxPort-1)%(maxPort-firstFreePort+1)
		}
		for port := first; port <= maxPort; port++ {
			if !yield(port) {
				return
			}
		}
		for port := firstFreePort; port < first; port++ {
			if !yield(port) {
				return
			}
		}
	}
}

// opened records that a tunnel is open at a local end.
func (t *table) opened(env string, to target, local Local) {
	e := t.Environments[env]
	e.Tunnels = slices.DeleteFunc(e.Tunnels, func(r record) bool { return r.target() == to })
	e.Tunnels = append(e.Tunnels, record{Service: to.Service, RemotePort: to.Port, LocalPort: local.Port, Bind: local.Bind, Socket: local.Socket, Open: true})
	t.Environments[env] = e
}

// closed records that tunnels are closed, and returns those that were not.
// Their ports stay theirs.
func (t *table) closed(env string, which selection) []Tunnel {
	var forgotten []Tunnel
	for i, r := range t.Environments[env].Tunnels {
		if r.Open && which.has(r.target()) {
			t.Environments[env].Tunnels[i].Open = false
			forgotten = append(forgotten, r.tunnel(env))
		}
	}
	return forgotten
}

// open lists the tunnels of env that are open as far as the table knows.
func (t *table) open(env string) []Tunnel {
	var open []Tunnel
	for _, r := range t.Environments[env].Tunnels {
		if r.Open {
			open = append(open, r.tunnel(env))
		}
	}
	return open
}

// tunnel is r as a Tunnel that no process is known to hold.
func (r record) tunnel(env string) Tunnel {
	return Tunnel{Env: env, Service: r.Service, RemotePort: r.RemotePort, LocalPort: r.LocalPort, Bind: r.Bind, Socket: r.Socket}
}

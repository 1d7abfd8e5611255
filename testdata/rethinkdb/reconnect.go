package main

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// reconnector looks for servers whose connection was lost, at the addresses they had when they were last met. It never
// asks DNS: a server that returns under another address has to come by itself.
type reconnector struct {
	mesh *mesh

	mu      sync.Mutex
	looking map[string]context.CancelFunc // by server id
}

const (
	firstBackoff   = 50 * time.Millisecond // and twice as long each time
	longestBackoff = 15 * time.Second
)

func newReconnector(m *mesh) *reconnector {
	return &reconnector{mesh: m, looking: map[string]context.CancelFunc{}}
}

// found ends the search for a server that has a connection again.
func (r *reconnector) found(serverID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stop, ok := r.looking[serverID]; ok {
		stop()
		delete(r.looking, serverID)
	}
}

// look searches until the server is found, or --cluster-reconnect-timeout is over, or other servers live at all of its
// addresses.
func (r *reconnector) look(ctx context.Context, serverID string, last address) {
	search, stop := context.WithTimeout(ctx, r.mesh.config.reconnect)
	r.mu.Lock()
	r.looking[serverID] = stop
	r.mu.Unlock()

	cached := &cachedAddress{address: last}
	go func() {
		defer stop()
		for wait := firstBackoff; ; wait = min(2*wait, longestBackoff) {
			to := cached.get()
			if len(to.ips) == 0 {
				r.mesh.log.Printf("Unrecoverable connection error to remote server: %s", serverID)
				return
			}
			// A connection outlives the search that made it, so it runs under the server's own context.
			go r.mesh.join(ctx, to, expectation{serverID: serverID, onOther: cached.erase})
			select {
			case <-search.Done():
				return
			case <-time.After(wait):
			}
		}
	}()
}

// cachedAddress shrinks as other servers turn up at its IPs.
type cachedAddress struct {
	mu sync.Mutex
	address
}

func (c *cachedAddress) get() address {
	c.mu.Lock()
	defer c.mu.Unlock()
	return address{names: c.names, ips: slices.Clone(c.ips)}
}

func (c *cachedAddress) erase(ip netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ips = slices.DeleteFunc(c.ips, func(other netip.AddrPort) bool { return other == ip })
}

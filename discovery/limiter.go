package discovery

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxClients bounds what the limiter remembers.
	maxClients = 10_000
	// v6Site is the part of an IPv6 address that one client has all of.
	v6Site = 64
)

// limiter gives each client so many requests a second, and twice as many at
// once.
type limiter struct {
	perSecond int
	now       func() time.Time
	mu        sync.Mutex
	clients   map[string]*rate.Limiter
}

func newLimiter(perSecond int, now func() time.Time) *limiter {
	return &limiter{perSecond: perSecond, now: now, clients: map[string]*rate.Limiter{}}
}

func (l *limiter) allow(client string) bool {
	if l.perSecond == 0 {
		return true
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.clients[client]
	if !ok {
		l.makeRoom(now)
		c = rate.NewLimiter(rate.Limit(l.perSecond), 2*l.perSecond)
		l.clients[client] = c
	}
	return c.AllowN(now, 1)
}

// makeRoom forgets clients that have their full share again, and where that is
// not enough any others: a quarter at once, so that it is seldom done.
func (l *limiter) makeRoom(now time.Time) {
	if len(l.clients) < maxClients {
		return
	}
	for name, c := range l.clients {
		if c.TokensAt(now) >= float64(2*l.perSecond) {
			delete(l.clients, name)
		}
	}
	for name := range l.clients {
		if len(l.clients) <= maxClients*3/4 {
			return
		}
		delete(l.clients, name)
	}
}

// clientOf is whom a request is counted for: an IPv4 address, or the network
// that an IPv6 one is of.
func clientOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	site, err := addr.Prefix(v6Site)
	if err != nil {
		return addr.String()
	}
	return site.String()
}

package ports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

var errInUse = errors.New("in use")

// A connection to this machine succeeds or is refused well within it. Windows
// spends two seconds on a refusal, which nobody should wait for.
const loopbackTimeout = 200 * time.Millisecond

// claim takes a local port for a tunnel and records it: the port `local`, or
// with 0 the best that the table has. Both happen under the table's lock, so
// two environments never race for a port.
func (f tableFile) claim(ctx context.Context, env string, to target, local int) (lns []net.Listener, port int, err error) {
	err = f.update(ctx, func(t *table) error {
		t.add(env)
		if local != 0 {
			port = local
			lns, err = listen(ctx, port)
		} else {
			lns, port, err = listenFirst(ctx, t, env, to)
		}
		if err != nil {
			return err
		}
		t.opened(env, to, port)
		return nil
	})
	if err != nil {
		closeAll(lns)
		return nil, 0, err
	}
	return lns, port, nil
}

func listenFirst(ctx context.Context, t *table, env string, to target) ([]net.Listener, int, error) {
	for port := range t.candidates(env, to) {
		lns, err := listen(ctx, port)
		if err == nil {
			return lns, port, nil
		}
		if !errors.Is(err, errInUse) && !forbidden(err) {
			return nil, 0, err
		}
	}
	return nil, 0, errors.New("no port on this machine is free")
}

// listen listens on 127.0.0.1, and on ::1 where there is one: browsers try
// both for localhost, so a port counts as free only if it is free on both.
func listen(ctx context.Context, port int) ([]net.Listener, error) {
	var lns []net.Listener
	for _, at := range []struct{ network, host string }{{"tcp4", "127.0.0.1"}, {"tcp6", "::1"}} {
		addr := net.JoinHostPort(at.host, strconv.Itoa(port))
		ln, err := listenAt(ctx, at.network, addr)
		switch {
		case err == nil:
			lns = append(lns, ln)
		case errors.Is(err, errInUse):
			closeAll(lns)
			return nil, fmt.Errorf("port %d on this machine is %w", port, errInUse)
		case at.network == "tcp4":
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
	}
	return lns, nil
}

func listenAt(ctx context.Context, network, addr string) (net.Listener, error) {
	// macOS and Windows let one program have the port on this address while
	// another has it on all addresses: only asking shows the other.
	dial, cancel := context.WithTimeout(ctx, loopbackTimeout)
	defer cancel()
	if conn, err := (&net.Dialer{}).DialContext(dial, network, addr); err == nil {
		_ = conn.Close()
		return nil, errInUse
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, network, addr)
	if err != nil && inUse(err) {
		return nil, errInUse
	}
	return ln, err
}

func closeAll(lns []net.Listener) {
	for _, ln := range lns {
		_ = ln.Close()
	}
}

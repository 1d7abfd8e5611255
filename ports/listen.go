package ports

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"time"
)

var errInUse = errors.New("in use")

// A connection to this machine succeeds or is refused well within it. Windows
// spends two seconds on a refusal, which nobody should wait for.
const loopbackTimeout = 200 * time.Millisecond

// claim takes a local end for a tunnel and records it: the one asked for, or with
// no port the best that the table has. Both happen under the table's lock, so
// two environments never race for a port.
func (f tableFile) claim(ctx context.Context, env string, to target, local Local) (lns []net.Listener, at Local, err error) {
	err = f.update(ctx, func(t *table) error {
		t.add(env)
		lns, at, err = listenLocal(ctx, t, env, to, local)
		if err != nil {
			return err
		}
		t.opened(env, to, at)
		return nil
	})
	if err != nil {
		closeAll(lns)
		return nil, Local{}, err
	}
	return lns, at, nil
}

func listenLocal(ctx context.Context, t *table, env string, to target, local Local) ([]net.Listener, Local, error) {
	switch {
	case local.Socket != "":
		ln, err := listenSocket(ctx, local.Socket)
		return []net.Listener{ln}, Local{Socket: local.Socket}, err
	case local.Port != 0:
		lns, err := listen(ctx, local.Bind, local.Port)
		return lns, local, err
	}
	for port := range t.candidates(env, to) {
		lns, err := listen(ctx, local.Bind, port)
		if err == nil {
			return lns, Local{Port: port, Bind: local.Bind}, nil
		}
		if !errors.Is(err, errInUse) && !forbidden(err) {
			return nil, Local{}, err
		}
	}
	return nil, Local{}, errors.New("no port on this machine is free")
}

// listenSocket listens on a unix socket that only this user may open. One that
// is there already and that nobody listens on was left by a program that was
// killed.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if err := checkSocketPath(path); err != nil {
		return nil, err
	}
	found, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case found.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s is there already, and is no socket", path)
	default:
		dial, cancel := context.WithTimeout(ctx, loopbackTimeout)
		defer cancel()
		conn, err := (&net.Dialer{}).DialContext(dial, "unix", path)
		if err == nil {
			_ = conn.Close()
		}
		if !refused(err) {
			return nil, fmt.Errorf("socket %s is %w", path, errInUse)
		}
		if err := remove(path); err != nil {
			return nil, err
		}
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := restrict(path); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// loopback is one of the addresses that a tunnel has where it was bound to
// none.
type loopback struct{ network, host string }

// listen listens on 127.0.0.1, and on ::1 where there is one: browsers try
// both for localhost, so a port counts as free only if it is free on both.
// An address to bind to takes the place of both.
func listen(ctx context.Context, bind string, port int) ([]net.Listener, error) {
	var lns []net.Listener
	ends := []loopback{{"tcp4", "127.0.0.1"}, {"tcp6", "::1"}}
	if bind != "" {
		ends = []loopback{{"tcp", bind}}
	}
	for _, at := range ends {
		addr := net.JoinHostPort(at.host, strconv.Itoa(port))
		ln, err := listenAt(ctx, at.network, addr)
		switch {
		case err == nil:
			lns = append(lns, ln)
		case errors.Is(err, errInUse):
			closeAll(lns)
			return nil, fmt.Errorf("port %d on this machine is %w", port, errInUse)
		case at.network != "tcp6":
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
	config := net.ListenConfig{}
	if network != "tcp" { // on loopback nobody disappears without a word
		config.KeepAlive = -1
	}
	ln, err := config.Listen(ctx, network, addr)
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

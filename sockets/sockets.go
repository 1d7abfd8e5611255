// Package sockets gives the docker CLI of this computer a way to an
// environment's manager: a unix socket in a folder that is the user's alone,
// every connection to which goes over SSH to an engine that manages.
//
// A socket lives as long as one command, or, in a background process of its
// own, until it is closed. It depends on home for paths and on tunnel for
// forwarding, and must not know how a manager is found (a Dialer does).
package sockets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"skep/tunnel"
)

// Dialer connects to the socket of any engine that manages the environment.
type Dialer func(context.Context) (net.Conn, error)

// Systems have this much room for the path of a socket; macOS has the least.
const maxPath = 103

// listen makes the folder, which is emptied first, and the socket in it.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("the path of the socket %s has %d bytes, and systems allow %d\nset XDG_STATE_HOME or TMPDIR to a shorter folder", path, len(path), maxPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make a folder for the socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket of before: %w", err)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	if err := restrict(path); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// With runs do with the address of a socket, as DOCKER_HOST has it, which is
// gone afterwards.
func With(ctx context.Context, dial Dialer, log *slog.Logger, do func(host string) error) error {
	dir, err := os.MkdirTemp("", "skep-") // 0700
	if err != nil {
		return fmt.Errorf("make a folder for the socket: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "docker.sock")
	ln, err := listen(ctx, path)
	if err != nil {
		return err
	}
	// The command may outlive ctx, to end in its own way.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- (&tunnel.Forwarder{Dial: dial, Log: log}).Forward(serving, ln) }()
	err = do("unix://" + path)
	stop()
	return errors.Join(err, <-ended)
}

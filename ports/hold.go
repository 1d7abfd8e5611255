package ports

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"skep/home"
	"skep/tunnel"
)

// Hold holds one tunnel in this process until ctx is done. The local end is the
// one of t, or by the table where t has none; opened is told of it once the
// service was reached and the end accepts. It has nothing to do with the
// environment's background process, and is not listed.
func Hold(ctx context.Context, dir home.Dir, t Tunnel, d Dialer, log *slog.Logger, opened func(Tunnel) error) error {
	if err := dir.Make(); err != nil {
		return err
	}
	conn, err := d.DialService(ctx, t.Service, t.RemotePort)
	if err != nil {
		return fmt.Errorf("reach %s of %s: %w", t.target(), t.Env, err)
	}
	_ = conn.Close()
	lns, at, err := tableFile(dir.TunnelTable()).borrow(ctx, t.Env, t.target(), t.Local())
	if err != nil {
		return fmt.Errorf("open a tunnel to %s of %s: %w", t.target(), t.Env, err)
	}
	t.LocalPort, t.Bind, t.Socket, t.Alive = at.Port, at.Bind, at.Socket, true
	if err := opened(t); err != nil {
		closeAll(lns)
		return err
	}
	f := &tunnel.Forwarder{Log: log, Dial: func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		return d.DialService(ctx, t.Service, t.RemotePort)
	}}
	errs := make([]error, len(lns))
	var running sync.WaitGroup
	for i, ln := range lns {
		running.Go(func() { errs[i] = f.Forward(ctx, ln) })
	}
	running.Wait()
	return errors.Join(errs...)
}

// borrow takes a local end as claim does, and records none as open.
func (f tableFile) borrow(ctx context.Context, env string, to target, local Local) (lns []net.Listener, at Local, err error) {
	err = f.update(ctx, func(t *table) error {
		t.add(env)
		lns, at, err = listenLocal(ctx, t, env, to, local)
		return err
	})
	if err != nil {
		closeAll(lns)
		return nil, Local{}, err
	}
	return lns, at, nil
}

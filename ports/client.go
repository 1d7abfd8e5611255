package ports

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"skep/home"
)

// Client opens, lists and closes tunnels on behalf of a skep command.
type Client struct {
	Home    home.Dir
	Command []string // what runs the background process, less the environment: {"/usr/bin/skep", "tunnel", "serve"}
	Log     *slog.Logger
}

// A process that answered a moment ago may end before it gets the request, as
// its last tunnel was closed or another open failed. So often is no accident.
const openTries = 8

func (c Client) process(env string) process { return process{c.Home, env} }

func (c Client) table() tableFile { return tableFile(c.Home.TunnelTable()) }

// Open opens a tunnel and returns once its local port accepts connections and
// the service was reached. The zero Local leaves the choice to the table. A tunnel
// that is open already is returned as it is. Where it fails nothing is left.
func (c Client) Open(ctx context.Context, env, service string, remotePort int, local Local) (Tunnel, error) {
	switch {
	case service == "":
		return Tunnel{}, fmt.Errorf("open a tunnel to %s: no service is named", env)
	case !isPort(remotePort):
		return Tunnel{}, fmt.Errorf("open a tunnel to %s of %s: %d is no port", service, env, remotePort)
	case local.Port != 0 && !isPort(local.Port):
		return Tunnel{}, fmt.Errorf("open a tunnel to %s of %s: %d is no port of this machine", service, env, local.Port)
	}
	if err := c.Home.Make(); err != nil {
		return Tunnel{}, err
	}
	p := c.process(env)
	var r reply
	var err error
	for range openTries {
		if err := c.ensure(ctx, p); err != nil {
			return Tunnel{}, err
		}
		r, err = p.open(ctx, openRequest{service, remotePort, local})
		if !errors.Is(err, errAbsent) {
			break
		}
		if r.PID != 0 { // it says itself that it is ending
			if err := p.waitGone(ctx, r.PID, holdTimeout); err != nil {
				return Tunnel{}, fmt.Errorf("wait for the tunnel process of %s to end: %w", env, err)
			}
		}
	}
	switch {
	case err != nil && r.Ending:
		// The caller may remove what the process uses: let it go first.
		return Tunnel{}, errors.Join(err, p.waitGone(ctx, r.PID, holdTimeout))
	case err != nil:
		return Tunnel{}, err
	case len(r.Tunnels) != 1:
		return Tunnel{}, fmt.Errorf("open a tunnel to %s of %s: the tunnel process answered with %d tunnels", service, env, len(r.Tunnels))
	}
	return r.Tunnels[0], nil
}

// List lists the tunnels of an environment, or with "" of all that the table
// has, in order. Those whose process is gone are not alive.
func (c Client) List(ctx context.Context, env string) ([]Tunnel, error) {
	return c.list(ctx, env, process.list)
}

// Check is List, with each service reached over its tunnel's connections: Alive
// tells whether it was, LatencyMS how soon, Error why not.
func (c Client) Check(ctx context.Context, env string) ([]Tunnel, error) {
	return c.list(ctx, env, process.check)
}

func (c Client) list(ctx context.Context, env string, ask func(process, context.Context) (reply, error)) ([]Tunnel, error) {
	if err := c.Home.Make(); err != nil {
		return nil, err
	}
	t, err := c.table().read(ctx)
	if err != nil {
		return nil, err
	}
	envs := []string{env}
	if env == "" {
		envs = slices.Collect(maps.Keys(t.Environments))
	}
	live := make([][]Tunnel, len(envs))
	var asking sync.WaitGroup
	for i, env := range envs {
		asking.Go(func() {
			r, err := ask(c.process(env), ctx)
			if err != nil && !errors.Is(err, errAbsent) {
				c.Log.Warn("the tunnels of an environment do not answer", "env", env, "error", err)
			}
			live[i] = r.Tunnels
		})
	}
	asking.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("list tunnels: %w", context.Cause(ctx))
	}
	all := []Tunnel{}
	for i, env := range envs {
		all = withDead(append(all, live[i]...), t.open(env))
	}
	return all, nil
}

// Close closes a tunnel, with remotePort 0 all those to the service, and with
// service "" all of the environment, whose process is then gone. It returns
// those that were open or listed as dead; none is no error. A process that
// does not answer is ended only when all its tunnels are to be closed.
func (c Client) Close(ctx context.Context, env, service string, remotePort int) (closed []Tunnel, err error) {
	if closed, err = c.close(ctx, c.process(env), selection{service, remotePort}); err != nil {
		return closed, fmt.Errorf("close tunnels of %s: %w", env, err)
	}
	return closed, nil
}

func (c Client) close(ctx context.Context, p process, which selection) ([]Tunnel, error) {
	if err := c.Home.Make(); err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, p.startLock())
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := p.list(ctx) // tells at once whether it answers; closing takes longer
	if err == nil {
		r, err = p.close(ctx, which)
	}
	answered := r.PID != 0
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, err
	case answered && !r.Ending:
		return r.Tunnels, err
	case answered && p.waitGone(ctx, r.PID, shutdownTimeout+closeTimeout) == nil:
		return r.Tunnels, err
	case !answered && which != selection{} && !errors.Is(err, errAbsent):
		return nil, p.explain(ctx, err)
	}
	if which == (selection{}) {
		err = p.end(ctx)
	} else { // it is ending of itself, if it lives at all
		err = p.waitGone(ctx, p.pid(), holdTimeout)
	}
	if err != nil {
		return r.Tunnels, err
	}
	dead, err := c.forget(ctx, p, which)
	return withDead(r.Tunnels, dead), err
}

// forget removes what a dead process left: its files, and the selected tunnels
// from the list. The caller holds the start lock.
func (c Client) forget(ctx context.Context, p process, which selection) (dead []Tunnel, err error) {
	if err := p.sweep(); err != nil {
		return nil, err
	}
	err = c.table().update(ctx, func(t *table) error {
		dead = t.closed(p.env, which)
		return nil
	})
	return dead, err
}

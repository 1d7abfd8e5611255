package ssh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"skep/providers"
)

const (
	installTimeout = 10 * time.Minute
	workTimeout    = 2 * time.Minute
)

// prepare makes a node of a host: its engine serves, and its hostname is the
// node's name, for that is what a swarm knows it by.
func prepare(ctx context.Context, s providers.Spec, f facts) error {
	err := work(ctx, s.Name, s.Host, s.Options, installTimeout, func(run script) error {
		if f.values["engine"] == "" {
			if err := run(installScript, map[string]string{"packages": f.values["packages"]}); err != nil {
				return fmt.Errorf("install Docker: %w", err)
			}
		}
		return run(prepareScript, map[string]string{"env": s.Env, "node": s.Name})
	})
	if err != nil {
		return fmt.Errorf("prepare host %s: %w", s.Host, err)
	}
	return nil
}

// undo takes off a host what prepare and the swarm left there.
func undo(ctx context.Context, env string, r record) error {
	return work(ctx, r.Name, r.Host, r.Options, workTimeout, func(run script) error {
		return run(undoScript, map[string]string{"env": env, "node": r.Name})
	})
}

// script runs one of them on a host.
type script func(text string, variables map[string]string) error

func work(ctx context.Context, node, host string, options map[string]string, limit time.Duration, do func(script) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	conn, err := connect(ctx, node, host, options)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return do(func(text string, variables map[string]string) error {
		_, err := asRoot(ctx, conn, text, variables)
		return err
	})
}

// Delete gives hosts back as they were. One that does not answer stays on
// record, so that it can be asked again.
//
// Workers leave their swarm at once, then managers one after another: an engine
// (20.10) that leaves while its manager goes can keep the overlay gossip of that
// swarm running, and is then deaf in the next one until it is restarted.
func (d *Driver) Delete(ctx context.Context, machines []providers.Machine) error {
	errs := make([]error, len(machines))
	var leaving sync.WaitGroup
	for i, m := range machines {
		if m.Role == providers.Worker {
			leaving.Go(func() { errs[i] = d.giveBack(ctx, m.Env, m.Name) })
		}
	}
	leaving.Wait()
	for i, m := range machines {
		if m.Role == providers.Manager {
			errs[i] = d.giveBack(ctx, m.Env, m.Name)
		}
	}
	return errors.Join(errs...)
}

func (d *Driver) giveBack(ctx context.Context, env, name string) error {
	all, err := d.read(env)
	if err != nil {
		return err
	}
	r := named(all, name)
	if r == nil {
		return nil
	}
	if err := undo(ctx, env, *r); err != nil {
		return fmt.Errorf("%s stays as it is on host %s, with its place in the swarm, its data and its hostname: %w; once it answers, remove it again, or forget it with --yes-lose-data",
			name, r.Host, err)
	}
	return d.change(env, func(all []record) []record { return without(all, name) })
}

// Purge gives all hosts of an environment back.
func (d *Driver) Purge(ctx context.Context, env string) error {
	machines, err := d.List(ctx, env)
	if errors.Is(err, providers.ErrAbsent) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.Delete(ctx, machines)
}

// Abandon forgets hosts as they are.
func (d *Driver) Abandon(_ context.Context, machines []providers.Machine) error {
	var errs []error
	for _, m := range machines {
		errs = append(errs, d.change(m.Env, func(all []record) []record { return without(all, m.Name) }))
	}
	return errors.Join(errs...)
}

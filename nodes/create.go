package nodes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"skep/providers"
	"skep/swarm"
	"skep/tunnel"
	"skep/usage"
)

const (
	rollbackTimeout = 2 * time.Minute
	quorumTimeout   = 45 * time.Second // two elections, of 10 to 20 s each
)

// Create makes machines and forms them into the environment's swarm, finishing
// first what an earlier run left half done. One that fails takes back what it
// made.
func (e *Environment) Create(ctx context.Context, o CreateOptions) error {
	driver, ok := e.Drivers[o.Driver]
	if !ok {
		return usage.Errorf("there is no driver %q: use %s", o.Driver, strings.Join(slices.Sorted(maps.Keys(e.Drivers)), ", "))
	}
	unlock, err := e.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := e.ensureKey(); err != nil {
		return err
	}
	before, err := e.Machines(ctx)
	if err != nil {
		return err
	}
	was, err := e.look(ctx, before)
	if err != nil {
		return err
	}
	specs, err := plan(e.Name, before, was.finished, o)
	if err != nil {
		return err
	}
	if len(specs) > 0 {
		if err := driver.Check(ctx, o.Image); err != nil {
			return err
		}
	}
	e.announce(specs, before)
	err = e.create(ctx, driver, specs, was)
	if err == nil || errors.Is(err, providers.ErrRefused) {
		return err
	}
	if context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	if !o.Keep {
		err = errors.Join(err, e.rollback(ctx, driver, before, was))
	}
	return err
}

func (e *Environment) announce(specs []providers.Spec, before []providers.Machine) {
	managers, _ := split(before)
	total, added := len(managers), 0
	for _, s := range specs {
		e.Log.Info("creating", "node", s.Name)
		if s.Role == providers.Manager && !slices.ContainsFunc(managers, func(m providers.Machine) bool { return m.Name == s.Name }) {
			added++
		}
	}
	if total += added; added > 0 && total%2 == 0 {
		e.Log.Warn(fmt.Sprintf("%d managers survive no more losses than %d", total, total-1))
	}
}

// create makes the machines and joins every machine that is no working member.
func (e *Environment) create(ctx context.Context, driver providers.Driver, specs []providers.Spec, was view) error {
	if _, err := driver.Create(ctx, specs); err != nil {
		return err
	}
	all, err := e.existing(ctx)
	if err != nil {
		return err
	}
	var todo, stopped []providers.Machine
	for _, m := range all {
		switch {
		case !was.finished[m.Name]:
			todo = append(todo, m)
			if !m.Running {
				stopped = append(stopped, m)
			}
		case m.Running && !was.ready[m.Name]:
			todo = append(todo, m)
		}
	}
	if len(todo) == 0 {
		e.Log.Info(e.Name + " is complete already")
		return nil
	}
	if len(stopped) > 0 {
		if err := e.startAll(ctx, stopped); err != nil {
			return err
		}
		if all, err = e.existing(ctx); err != nil { // where they answer now
			return err
		}
		todo = slices.DeleteFunc(slices.Clone(all), func(m providers.Machine) bool { return !contains(todo, m) })
	}
	if err := e.form(ctx, all, todo, was.manager); err != nil {
		return err
	}
	e.Log.Info(e.Name + " is ready")
	return nil
}

// boot connects to a machine that may still be booting and waits for its engine.
func (e *Environment) boot(ctx context.Context, m providers.Machine) (*swarm.Engine, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("%s did not serve Docker within %s", m.Name, bootTimeout))
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	var last error // of a try that the end of the time did not cut off
	for {
		engine, err := e.engine(ctx, m)
		if err == nil {
			if _, err = engine.Ping(ctx); err == nil {
				return engine, nil
			}
		}
		if final(err) {
			return nil, err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}

// final says whether trying again would change nothing.
func final(err error) bool {
	for _, e := range []error{tunnel.ErrDenied, tunnel.ErrOtherKey, tunnel.ErrNotPinned, providers.ErrBoot, errStopped} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// rollback removes the machines that were not there before, even after Ctrl-C.
// Those that joined are taken out of the swarm first: deleted as they are,
// managers among them would take its quorum with them.
func (e *Environment) rollback(ctx context.Context, driver providers.Driver, before []providers.Machine, was view) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if len(before) == 0 {
		e.Log.Info("taking back what was made of " + e.Name)
		return errors.Join(driver.Purge(ctx, e.Name), e.forget())
	}
	after, err := e.Machines(ctx)
	if err != nil {
		return fmt.Errorf("take back what was made: %w", err)
	}
	made := slices.DeleteFunc(after, func(m providers.Machine) bool { return contains(before, m) })
	if len(made) == 0 {
		return nil
	}
	if was.manager == nil { // there was no swarm to hurt
		return driver.Delete(ctx, made)
	}
	manager, err := e.Engine(ctx, was.manager.Node())
	if err != nil {
		return fmt.Errorf("take back %s: %w", strings.Join(names(made), ", "), err)
	}
	// One that is just joining takes the quorum away until it is there.
	if err := manager.WaitManager(ctx); err != nil {
		return fmt.Errorf("take back %s: %w", strings.Join(names(made), ", "), err)
	}
	var errs []error
	for _, m := range slices.Backward(made) { // managers last
		e.Log.Info("taking it back", "node", m.Name)
		if err := e.takeOut(ctx, manager, m); err != nil {
			errs = append(errs, fmt.Errorf("take back %s: %w", m.Name, err))
		}
	}
	return errors.Join(errs...)
}

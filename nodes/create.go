package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"skep/providers"
	"skep/swarm"
	"skep/tunnel"
	"skep/usage"

	"golang.org/x/sync/errgroup"
)

const (
	quorumTimeout = 45 * time.Second // two elections, of 10 to 20 s each

	defaultDriver = "docker"
)

// Create makes machines and forms them into the environment's swarm, finishing
// first what an earlier run left half done. One that fails takes back what it
// made.
func (e *Environment) Create(ctx context.Context, o CreateOptions) error {
	if o.Driver != "" && e.driver(o.Driver) == nil {
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
	if err != nil && (o.Driver == "" || !errors.Is(err, providers.ErrAbsent)) { // what is missing of its own a named driver says itself
		return err
	}
	was, err := e.look(ctx, before)
	if err != nil {
		return err
	}
	if o.Driver == "" {
		if o.Driver, err = e.usualDriver(before); err != nil {
			return err
		}
	}
	specs, err := plan(e.Name, before, was.finished, o)
	if err != nil {
		return err
	}
	if err := mixes(before, specs); err != nil {
		return err
	}
	if specs, err = e.check(ctx, specs); err != nil {
		return err
	}
	if err := e.mayEncrypt(ctx, was.manager, o.Encrypt); err != nil {
		return err
	}
	if o.Agree != nil {
		if err := o.Agree(ctx, specs); err != nil {
			return err
		}
	}
	e.announce(specs, before)
	err = e.create(ctx, specs, was, o)
	if err == nil || errors.Is(err, providers.ErrRefused) && len(e.byDriver(specs)) == 1 {
		return err
	}
	if context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	if !o.Keep {
		err = errors.Join(err, e.rollback(ctx, specs, before, was))
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

// usualDriver is the one that all machines of the environment were made by.
func (e *Environment) usualDriver(before []providers.Machine) (string, error) {
	if len(before) == 0 {
		return defaultDriver, nil
	}
	for _, m := range before {
		if m.Driver != before[0].Driver {
			return "", usage.Errorf("%s has machines of %s and of %s: say with -d what makes these", e.Name, before[0].Driver, m.Driver)
		}
	}
	return before[0].Driver, nil
}

// byDriver parts specs by who makes them.
func (e *Environment) byDriver(specs []providers.Spec) map[providers.Driver][]providers.Spec {
	parts := map[providers.Driver][]providers.Spec{}
	for _, s := range specs {
		parts[e.driver(s.Driver)] = append(parts[e.driver(s.Driver)], s)
	}
	return parts
}

// check has the drivers complete what is asked of them.
func (e *Environment) check(ctx context.Context, specs []providers.Spec) ([]providers.Spec, error) {
	var checked []providers.Spec
	for driver, some := range e.byDriver(specs) {
		some, err := driver.Check(ctx, some)
		if err != nil {
			return nil, err
		}
		checked = append(checked, some...)
	}
	slices.SortStableFunc(checked, func(a, b providers.Spec) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(number(a), number(b)))
	})
	return checked, nil
}

// create makes the machines and joins every machine that is no working member.
func (e *Environment) create(ctx context.Context, specs []providers.Spec, was view, o CreateOptions) error {
	if err := e.unpin(specs); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for driver, some := range e.byDriver(specs) {
		g.Go(func() error {
			_, err := driver.Create(gctx, some)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	all, err := e.Machines(ctx)
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
		if all, err = e.Machines(ctx); err != nil { // where they answer now
			return err
		}
		todo = slices.DeleteFunc(slices.Clone(all), func(m providers.Machine) bool { return !contains(todo, m) })
	}
	private, err := e.private(ctx, all, was.manager, o.Private)
	if err != nil {
		return err
	}
	if err := meets(all, private); err != nil {
		return err
	}
	if err := e.form(ctx, all, todo, was.manager, private, o); err != nil {
		return err
	}
	e.Log.Info(e.Name + " is ready")
	return nil
}

// unpin forgets the host keys of machines that had the names of new ones.
func (e *Environment) unpin(specs []providers.Spec) error {
	file := e.Home.KnownHosts(e.Name)
	if _, err := os.Stat(file); err != nil {
		return nil // none is pinned
	}
	var fresh []string
	for _, s := range specs {
		fresh = append(fresh, s.Name)
	}
	return tunnel.Unpin(file, fresh...)
}

// boot connects to a machine that may still be booting and waits for its engine.
func (e *Environment) boot(ctx context.Context, m providers.Machine) (*swarm.Engine, error) {
	limit, pace := bootTimeout, 25*time.Millisecond
	settler, settles := e.driver(m.Driver).(providers.Settler)
	if settles {
		limit, pace = settleTimeout, 500*time.Millisecond
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s did not serve Docker within %s", m.Name, limit))
	defer cancel()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	var last error // of a try that the end of the time did not cut off
	for {
		engine, err := e.engine(ctx, m)
		if err == nil && settles {
			err = settler.Settle(ctx, engine.Conn())
		}
		if err == nil {
			if _, err = engine.Ping(ctx); err == nil {
				return engine, nil
			}
		}
		// The first boot lets keys in a little after it answers.
		early := settles && errors.Is(err, tunnel.ErrDenied) && time.Since(m.Created) < bootTimeout
		if final(err) && !early {
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

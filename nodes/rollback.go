package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"skep/providers"

	api "github.com/docker/docker/api/types/swarm"
)

// rollbackTimeout leaves every driver the time that its own limits give it.
const rollbackTimeout = 10 * time.Minute

// rollback removes what this run asked for and was not there before, even after
// Ctrl-C. Those that joined are taken out of the swarm first: deleted as they
// are, managers among them would take its quorum with them.
func (e *Environment) rollback(ctx context.Context, specs []providers.Spec, before []providers.Machine, was view) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	listed, _, failed := ask(ctx, e.Drivers, e.Name)
	if len(before) == 0 {
		e.Log.Info("taking back what was made of " + e.Name)
		errs := []error{e.release(ctx, listed)}
		for driver := range e.byDriver(specs) {
			errs = append(errs, driver.Purge(ctx, e.Name))
		}
		return errors.Join(append(errs, e.forget())...)
	}
	made := asked(specs, before, listed)
	if len(made) == 0 {
		return errors.Join(failed...)
	}
	errs := failed
	left := map[string][]api.Node{}
	if was.manager != nil {
		var err error
		if made, left, err = e.withdraw(ctx, was.manager.Node(), made); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, e.release(ctx, made))
	for _, m := range made {
		e.Log.Info("taking it back", "node", m.Name)
		e.drop(m.Name)
	}
	if err := e.each(made, func(d providers.Driver, some []providers.Machine) error { return d.Delete(ctx, some) }); err != nil {
		return fmt.Errorf("take back %s: %w", strings.Join(names(made), ", "), errors.Join(append(errs, err)...))
	}
	if was.manager == nil {
		return errors.Join(errs...)
	}
	for _, m := range made {
		if err := e.strikeOff(ctx, was.manager.Node(), m, left[m.Name]); err != nil {
			errs = append(errs, fmt.Errorf("take back %s: %w", m.Name, err))
		}
	}
	return errors.Join(append(errs, e.UpdateFirewall(ctx))...)
}

// asked is the machines that specs ask for and that were not there before. One
// that no list has may be on its way: its driver is to look for it.
func asked(specs []providers.Spec, before, listed []providers.Machine) []providers.Machine {
	var all []providers.Machine
	for _, s := range specs {
		m := providers.Machine{Env: s.Env, Name: s.Name, Role: s.Role, Driver: s.Driver, Host: s.Host}
		if contains(before, m) {
			continue
		}
		if i := slices.IndexFunc(listed, func(l providers.Machine) bool { return l.Name == s.Name }); i >= 0 {
			m = listed[i]
		}
		all = append(all, m)
	}
	return all
}

// withdraw takes machines out of the swarm, managers last, and returns those
// that may be deleted with the members that they were.
func (e *Environment) withdraw(ctx context.Context, by string, all []providers.Machine) ([]providers.Machine, map[string][]api.Node, error) {
	manager, err := e.Engine(ctx, by)
	if err == nil {
		// One that is just joining takes the quorum away until it is there.
		err = manager.WaitManager(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("take back %s: %w", strings.Join(names(all), ", "), err)
	}
	var out []providers.Machine
	var errs []error
	left := map[string][]api.Node{}
	for _, m := range slices.Backward(all) {
		if left[m.Name], err = e.expel(ctx, manager, m); err != nil {
			errs = append(errs, fmt.Errorf("take back %s: %w", m.Name, err))
			continue
		}
		out = append(out, m)
	}
	return out, left, errors.Join(errs...)
}

func (e *Environment) strikeOff(ctx context.Context, by string, m providers.Machine, members []api.Node) error {
	manager, err := e.Engine(ctx, by)
	if err != nil {
		return err
	}
	return e.struck(ctx, manager, m, members)
}

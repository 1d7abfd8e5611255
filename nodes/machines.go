package nodes

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"skep/providers"
)

// AnyDriver is the name of the driver that takes every name that no other has.
const AnyDriver = "docker-machine"

// driver is who makes machines of that name, or nil.
func (e *Environment) driver(name string) providers.Driver {
	if d, ok := e.Drivers[name]; ok {
		return d
	}
	return e.Drivers[AnyDriver]
}

// each has every driver do its part of a work on machines, all at once.
func (e *Environment) each(all []providers.Machine, do func(providers.Driver, []providers.Machine) error) error {
	parts := map[providers.Driver][]providers.Machine{}
	for _, m := range all {
		parts[e.driver(m.Driver)] = append(parts[e.driver(m.Driver)], m)
	}
	var mu sync.Mutex
	var errs []error
	var working sync.WaitGroup
	for driver, machines := range parts {
		working.Go(func() {
			if err := do(driver, machines); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	working.Wait()
	return errors.Join(errs...)
}

// Machines is all of the environment's machines, or an error where a driver
// that may have some does not answer: what is to be changed must be seen whole.
// One whose machines are on this computer has none elsewhere.
func (e *Environment) Machines(ctx context.Context) ([]providers.Machine, error) {
	all, absent, failed := ask(ctx, e.Drivers, e.Name)
	if len(all) > 0 && len(remote(all)) == 0 {
		failed = nil
	}
	if len(failed) == 0 && len(absent) == len(e.Drivers) {
		failed = absent
	}
	return all, errors.Join(failed...)
}

// answering is the machines of those drivers that answer; the others are told of.
// It fails where none answers.
func answering(ctx context.Context, drivers map[string]providers.Driver, env string, log *slog.Logger) ([]providers.Machine, error) {
	all, absent, failed := ask(ctx, drivers, env)
	if len(absent)+len(failed) == len(drivers) {
		if len(failed) == 0 {
			failed = absent
		}
		return nil, errors.Join(failed...)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, err := range failed {
		log.Warn("left out", "error", err)
	}
	return all, nil
}

// ask asks all drivers at once, for every environment where env is "".
func ask(ctx context.Context, drivers map[string]providers.Driver, env string) (all []providers.Machine, absent, failed []error) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, d := range drivers {
		asking.Go(func() {
			found, err := d.List(ctx, env)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, providers.ErrAbsent):
				absent = append(absent, err)
			case err != nil:
				failed = append(failed, err)
			}
			all = append(all, found...)
		})
	}
	asking.Wait()
	providers.Sort(all)
	return all, absent, failed
}

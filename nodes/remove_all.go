package nodes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"skep/providers"
	"skep/swarm"
	"skep/tunnel"
)

// RemoveAll removes the whole environment, whatever state it is in, and
// returns once every driver confirms that nothing of it is left. With giveUp,
// hosts that do not answer are forgotten as they are.
func (e *Environment) RemoveAll(ctx context.Context, giveUp bool) error {
	unlock, err := e.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all, _, unasked := ask(ctx, e.Drivers, e.Name)
	if err := e.refuseOrphaned(ctx, all, giveUp); err != nil {
		return err
	}
	released := e.release(ctx, all)
	e.Close()
	// One that does not answer is asked all the same: it says what it is about.
	errs := make([]error, 0, len(e.Drivers))
	for _, driver := range lendersFirst(e.Drivers) {
		err := driver.Purge(ctx, e.Name)
		if giveUp {
			err = e.giveUp(ctx, driver, err)
		}
		if !errors.Is(err, providers.ErrAbsent) {
			errs = append(errs, err)
		}
	}
	err = errors.Join(errs...)
	if err == nil {
		err = errors.Join(unasked...)
	}
	if err == nil && !giveUp {
		err = released
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", e.Name, err)
	}
	e.Log.Info(e.Name + " is gone: nothing of it is left")
	if bill := billing(all); bill > 0 {
		e.Log.Info("no longer billed: " + dollars(bill))
	}
	return e.forget()
}

// lendersFirst puts those first whose machines are to leave the swarm while there
// is one: an engine that outlives it has to be done with it in order.
func lendersFirst(drivers map[string]providers.Driver) []providers.Driver {
	var first, rest []providers.Driver
	for _, d := range drivers {
		if _, lends := d.(providers.Lender); lends {
			first = append(first, d)
		} else {
			rest = append(rest, d)
		}
	}
	return append(first, rest...)
}

// giveUp forgets what a driver could not give back of what it was lent, and says
// what that leaves.
func (e *Environment) giveUp(ctx context.Context, driver providers.Driver, why error, names ...string) error {
	lender, lends := driver.(providers.Lender)
	if why == nil || !lends || ctx.Err() != nil {
		return why
	}
	left, err := driver.List(ctx, e.Name)
	if errors.Is(err, providers.ErrAbsent) {
		return nil
	}
	if err != nil {
		return errors.Join(why, err)
	}
	if len(names) > 0 {
		left = slices.DeleteFunc(left, func(m providers.Machine) bool { return !slices.Contains(names, m.Name) })
	}
	e.Log.Warn("forgotten, with what skep left there", "error", why)
	return lender.Abandon(ctx, left)
}

// refuseUnseen refuses to remove an environment of which this computer has met
// nodes whose driver is not set up here now: nobody would call them gone, and
// they may bill.
func (e *Environment) refuseUnseen(ctx context.Context, all []providers.Machine) error {
	for name, driver := range tunnel.Comments(e.Home.KnownHosts(e.Name)) {
		if e.driver(driver) == nil || slices.Contains(names(all), name) {
			continue
		}
		if _, err := e.driver(driver).List(ctx, e.Name); errors.Is(err, providers.ErrAbsent) {
			return fmt.Errorf("%s was made by %s, would be left behind and may bill: %w; if it is gone for sure, say --yes-lose-data", name, driver, err)
		}
	}
	return nil
}

// refuseOrphaned refuses to remove an environment that has nodes of a driver
// which is not set up here: nobody would know of them any more, and they may
// bill. With giveUp, hosts that were lent are left as they are.
func (e *Environment) refuseOrphaned(ctx context.Context, all []providers.Machine, giveUp bool) error {
	if !giveUp {
		if err := e.refuseUnseen(ctx, all); err != nil {
			return err
		}
	}
	managers, _ := split(all)
	if !slices.ContainsFunc(managers, func(m providers.Machine) bool { return m.Running }) {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, seenWithin)
	defer cancel()
	manager, err := e.manager(asking, all)
	if err != nil {
		return nil // it tells of nobody
	}
	members, err := manager.Members(asking)
	if err != nil {
		return nil
	}
	for _, n := range members {
		made, known := n.Spec.Labels[swarm.LabelDriver]
		if !known || slices.ContainsFunc(all, func(m providers.Machine) bool { return m.Name == n.Description.Hostname }) {
			continue
		}
		driver := e.driver(made)
		_, lends := driver.(providers.Lender)
		if _, err := driver.List(ctx, e.Name); !errors.Is(err, providers.ErrAbsent) && !lends {
			continue
		}
		if !lends || !giveUp {
			return fmt.Errorf("%s, a node of %s, would be left behind, for %s does not have it here: remove it where it was made%s", n.Description.Hostname, e.Name, made,
				map[bool]string{true: ", or leave it as it is with --yes-lose-data"}[lends])
		}
		e.Log.Warn("left as it is", "node", n.Description.Hostname)
	}
	return nil
}

// forget removes what is kept of the environment on this computer.
func (e *Environment) forget() error {
	var errs []error
	for _, path := range []string{e.Home.KnownHosts(e.Name), e.Home.RethinkPassword(e.Name)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

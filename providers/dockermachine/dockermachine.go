// Package dockermachine is the driver for all machines that docker-machine
// makes: in VirtualBox, at Google, Amazon and many others. It drives the program
// of that name on PATH, whose folder is the only record of its machines.
//
// docker-machine makes, starts, stops and removes machines, no more: the way into
// them is SSH with the key that each of them got, never the engine's TLS port.
package dockermachine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"skep/providers"

	"golang.org/x/sync/errgroup"
)

// Name is what a driver of docker-machine's goes by, with its own name after a
// colon, where skep has another one of that name: docker-machine:digitalocean.
const Name = "docker-machine"

// atOnce is how many docker-machines run at the same time.
const atOnce = 10

// Driver drives docker-machine.
type Driver struct {
	Own []string // names of skep's own drivers
}

var _ providers.Driver = (*Driver)(nil)

// List finds machines by their names, whoever made them, and asks docker-machine
// for the state of all of them at once. `docker-machine ls` would do that in one
// call, but asks each engine at its TLS port as well, and waits ten seconds
// where that is closed.
func (d *Driver) List(ctx context.Context, env string) ([]providers.Machine, error) {
	found, err := folders(env)
	if err != nil {
		return nil, err
	}
	if installed() != nil {
		if len(found) == 0 {
			return nil, fmt.Errorf("no docker-machine on PATH: %w", providers.ErrAbsent)
		}
		return nil, fmt.Errorf("docker-machine's folder has %s: %w", strings.Join(names(found), ", "), installed())
	}
	machines := make([]providers.Machine, len(found))
	errs := make([]error, len(found))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, s := range found {
		g.Go(func() error {
			machines[i], errs[i] = d.look(ctx, s)
			return nil
		})
	}
	_ = g.Wait()
	// One of several that cannot be asked was never made whole, and is listed so
	// that it can be removed; where none can, something else is wrong.
	if len(found) > 0 && !slices.Contains(errs, nil) {
		return nil, fmt.Errorf("list the machines of docker-machine: %w", errors.Join(errs...))
	}
	machines = slices.DeleteFunc(machines, func(m providers.Machine) bool { return m.Name == "" })
	providers.Sort(machines)
	return machines, nil
}

func names(found []stored) []string {
	all := make([]string, 0, len(found))
	for _, s := range found {
		all = append(all, s.name)
	}
	return all
}

// look completes a machine with its state and address, which for a virtual
// machine on this computer can change from start to start.
func (d *Driver) look(ctx context.Context, s stored) (providers.Machine, error) {
	m := d.machine(s)
	state, err := run(ctx, "status", s.name)
	switch {
	case gone(err):
		return providers.Machine{}, nil
	case err != nil:
		return m, err
	}
	m.Running = state == "Running"
	if !m.Running || m.Address != "" && !m.Local {
		return m, nil
	}
	address, err := run(ctx, "ip", s.name)
	if err != nil {
		return m, nil // it is just getting one
	}
	s.Driver.IPAddress = address
	located := d.machine(s)
	located.Running = true
	return located, nil
}

// Start starts machines.
func (d *Driver) Start(ctx context.Context, machines []providers.Machine) error {
	return each(ctx, machines, "start")
}

// Stop stops machines in order.
func (d *Driver) Stop(ctx context.Context, machines []providers.Machine) error {
	return each(ctx, machines, "stop")
}

// Delete removes machines, at their provider first: docker-machine forgets one
// that cannot be removed there only when it is forced to, and skep does not.
func (d *Driver) Delete(ctx context.Context, machines []providers.Machine) error {
	return each(ctx, machines, "rm", "-y")
}

// each runs a command for every machine, all at once. One that docker-machine
// does not know is left out.
func each(ctx context.Context, machines []providers.Machine, words ...string) error {
	if len(machines) == 0 {
		return nil
	}
	if err := installed(); err != nil {
		return err
	}
	errs := make([]error, len(machines))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, m := range machines {
		g.Go(func() error {
			if _, err := run(ctx, append(slices.Clone(words), m.Name)...); err != nil && !gone(err) {
				errs[i] = err
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// Purge removes all machines that are named after the environment.
func (d *Driver) Purge(ctx context.Context, env string) error {
	found, err := folders(env)
	if err != nil || len(found) == 0 {
		return err
	}
	machines := make([]providers.Machine, len(found))
	for i, s := range found {
		machines[i] = d.machine(s)
	}
	if err := d.Delete(ctx, machines); err != nil {
		return fmt.Errorf("%w; what is gone at its provider `docker-machine rm -f` forgets", err)
	}
	if found, err = folders(env); err == nil && len(found) > 0 {
		err = fmt.Errorf("docker-machine still has %s", strings.Join(names(found), ", "))
	}
	return err
}

// Package ssh is the driver for hosts that exist: the user names them, skep
// makes nodes of them and gives them back. It never makes, stops or deletes one.
//
// Nobody but skep knows which hosts belong to an environment, so they are
// written down on this computer, and on each host in /etc/skep. The way into
// a host is what OpenSSH would take: the user's configuration, agent, keys and
// known hosts.
package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"skep/providers"
	"skep/tunnel"
	"skep/usage"
)

// Name is the driver's name on the command line.
const Name = "ssh"

// optionIdentity names a private key for one environment's hosts.
const optionIdentity = "identity"

// Driver looks after hosts. Its zero value but for Folder is ready for use.
type Driver struct {
	Folder string // where the lists of hosts are, a file an environment

	writing sync.Mutex // held while a list is changed
}

var (
	_ providers.Driver = (*Driver)(nil)
	_ providers.Lender = (*Driver)(nil)
)

// Check visits every host and refuses what cannot be a node, without changing
// anything there.
func (d *Driver) Check(ctx context.Context, specs []providers.Spec) ([]providers.Spec, error) {
	specs, _, err := d.survey(ctx, specs)
	return specs, err
}

// survey completes specs with what is on record and visits their hosts.
func (d *Driver) survey(ctx context.Context, specs []providers.Spec) ([]providers.Spec, []facts, error) {
	specs = slices.Clone(specs)
	if len(specs) == 0 {
		return specs, nil, nil
	}
	recorded, err := d.read(specs[0].Env)
	if err != nil {
		return nil, nil, err
	}
	for i := range specs {
		if err := complete(&specs[i], recorded); err != nil {
			return nil, nil, err
		}
	}
	found := make([]facts, len(specs))
	errs := make([]error, len(specs))
	var visiting sync.WaitGroup
	for i, s := range specs {
		visiting.Go(func() { found[i], errs[i] = visit(ctx, s) })
	}
	visiting.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	return specs, found, judge(specs, found, recorded)
}

// complete takes the host of a node that an earlier run began from its record.
func complete(s *providers.Spec, recorded []record) error {
	switch {
	case s.Size != "":
		return usage.Errorf("hosts that exist have the size that they have: leave --size out")
	case s.Image != "":
		return usage.Errorf("hosts that exist have a system already: leave --image out")
	}
	if r := named(recorded, s.Name); r != nil && s.Host == "" {
		s.Host, s.Region, s.Options = r.Host, r.Region, r.Options
	}
	for key := range s.Options {
		if key != optionIdentity {
			return usage.Errorf("the ssh driver knows no option %q: it has %s=FILE, a private key", key, optionIdentity)
		}
	}
	if s.Host == "" {
		return usage.Errorf("the ssh driver makes no machines: name one for each node with --host USER@ADDRESS[:PORT]")
	}
	return nil
}

// Create writes all hosts of the batch down before it touches the first one,
// then makes nodes of them.
func (d *Driver) Create(ctx context.Context, specs []providers.Spec) ([]providers.Machine, error) {
	specs, found, err := d.survey(ctx, specs)
	if err != nil || len(specs) == 0 {
		return nil, refused(err)
	}
	recorded := make([]record, len(specs))
	for i, s := range specs {
		recorded[i] = record{
			Name: s.Name, Role: s.Role, Host: s.Host, Region: s.Region, Options: s.Options, Batch: s.Batch,
			Address: found[i].reached, PrivateAddress: found[i].private(), Machine: found[i].identity(), Created: time.Now().UTC(),
		}
	}
	env := specs[0].Env
	if err := d.change(env, func(all []record) []record { return merge(all, recorded) }); err != nil {
		return nil, refused(err)
	}
	errs := make([]error, len(specs))
	var preparing sync.WaitGroup
	for i, s := range specs {
		preparing.Go(func() { errs[i] = prepare(ctx, s, found[i]) })
	}
	preparing.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i := range recorded {
		recorded[i].Prepared = true
	}
	if err := d.change(env, func(all []record) []record { return merge(all, recorded) }); err != nil {
		return nil, err
	}
	made := make([]providers.Machine, len(recorded))
	for i, r := range recorded {
		made[i] = r.machine(env)
	}
	return made, nil
}

// refused says of an error that nothing was made.
func refused(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", err, providers.ErrRefused)
}

// List reads the record. Whether a host answers is not asked: that takes as long
// as the slowest of them, and its swarm knows.
func (d *Driver) List(_ context.Context, env string) ([]providers.Machine, error) {
	envs := []string{env}
	if env == "" {
		var err error
		if envs, err = d.environments(); err != nil {
			return nil, err
		}
	}
	var all []providers.Machine
	for _, e := range envs {
		recorded, err := d.read(e)
		if err != nil {
			return nil, err
		}
		for _, r := range recorded {
			all = append(all, r.machine(e))
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no hosts of %s are written down on this computer: %w", cmp.Or(env, "any environment"), providers.ErrAbsent)
	}
	providers.Sort(all)
	return all, nil
}

// Start has nothing to do: skep stops no host.
func (d *Driver) Start(context.Context, []providers.Machine) error { return nil }

// Stop refuses.
func (d *Driver) Stop(_ context.Context, machines []providers.Machine) error {
	errs := make([]error, 0, len(machines))
	for _, m := range machines {
		errs = append(errs, fmt.Errorf("%s (%s) is a host that exists: it is not skep's to stop", m.Name, m.Host))
	}
	return errors.Join(errs...)
}

// machine is a host as others know it. One whose configuration cannot be read
// any more is known all the same; connecting tells why.
func (r record) machine(env string) providers.Machine {
	way, err := resolve(r.Host, r.Options)
	if err != nil {
		way.Address = net.JoinHostPort(r.Address, "22")
	}
	way.Name = r.Name
	return providers.Machine{
		Env: env, Name: r.Name, Role: r.Role, Driver: Name, Region: r.Region, Host: r.Host,
		Address: r.Address, PrivateAddress: r.PrivateAddress, Running: true, Fresh: !r.Prepared,
		Batch: r.Batch, Created: r.Created, SSH: way,
	}
}

// connect opens a connection to the host of a node.
func connect(ctx context.Context, node, host string, options map[string]string) (*tunnel.Conn, error) {
	way, err := resolve(host, options)
	if err != nil {
		return nil, err
	}
	way.Name = node
	return tunnel.Connect(ctx, way)
}

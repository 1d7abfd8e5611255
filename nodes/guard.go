package nodes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"skep/firewall"
	"skep/providers"
	"skep/swarm"
)

// remote are the machines that other computers reach, which a firewall guards.
func remote(all []providers.Machine) []providers.Machine {
	return slices.DeleteFunc(slices.Clone(all), func(m providers.Machine) bool { return m.Local })
}

// UpdateFirewall brings the rules of every node that has a firewall to the nodes
// and published ports that the swarm has now. A node that does not answer is
// told of, and gets them at the next change.
func (e *Environment) UpdateFirewall(ctx context.Context) error {
	all, err := e.existing(ctx)
	if err != nil {
		return err
	}
	guarded := remote(all)
	if len(guarded) == 0 {
		return nil
	}
	manager, err := e.Manager(ctx)
	if err != nil {
		return fmt.Errorf("update the firewall: %w", err)
	}
	private, err := e.private(ctx, all, manager, false)
	if err != nil {
		return err
	}
	rules, err := e.rules(ctx, all, manager, private)
	if err != nil {
		return err
	}
	if err := e.tellUnseen(ctx, all, manager); err != nil {
		return err
	}
	e.reguard(ctx, guarded, rules)
	return nil
}

// tellUnseen names nodes of the swarm that no driver here has: their firewalls
// stay as they are.
func (e *Environment) tellUnseen(ctx context.Context, all []providers.Machine, manager *swarm.Engine) error {
	members, err := manager.Members(ctx)
	if err != nil {
		return err
	}
	for _, n := range members {
		if _, ours := n.Spec.Labels[swarm.LabelDriver]; ours && !slices.Contains(names(all), n.Description.Hostname) {
			e.Log.Warn("it is not known here, so its firewall stays as it is: run this where it was made", "node", n.Description.Hostname)
		}
	}
	return nil
}

// reguard gives rules to those of the machines that have a firewall.
func (e *Environment) reguard(ctx context.Context, machines []providers.Machine, rules firewall.Rules) {
	var working sync.WaitGroup
	for _, m := range machines {
		if !m.Running || m.Local {
			continue
		}
		working.Go(func() {
			engine, err := e.engine(ctx, m)
			if err == nil {
				_, err = firewall.Update(ctx, engine.Conn(), rules)
			}
			if err != nil {
				e.Log.Warn("its firewall is not up to date until the next change that it hears of", "node", m.Name, "error", err)
			}
		})
	}
	working.Wait()
}

// release takes the firewall off machines that outlive the environment.
func (e *Environment) release(ctx context.Context, machines []providers.Machine) error {
	errs := make([]error, len(machines))
	var working sync.WaitGroup
	for i, m := range machines {
		if !m.Lent() || !m.Running {
			continue
		}
		working.Go(func() {
			engine, err := e.engine(ctx, m)
			if err == nil {
				err = firewall.Remove(ctx, engine.Conn())
			}
			if err != nil {
				errs[i] = fmt.Errorf("%s may still have its firewall: %w", m.Name, err)
			}
		})
	}
	working.Wait()
	return errors.Join(errs...)
}

// rules let in the machines and members of the swarm where the others reach
// them, and what services publish. Without a manager there is no swarm yet.
func (e *Environment) rules(ctx context.Context, all []providers.Machine, manager *swarm.Engine, private bool) (firewall.Rules, error) {
	var r firewall.Rules
	for _, m := range all {
		r.Nodes = append(r.Nodes, e.resolve(ctx, reached(m, private))...)
	}
	if manager == nil {
		return r, nil
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return r, err
	}
	for _, n := range members {
		if ip, err := netip.ParseAddr(swarm.Address(n)); err == nil && !ip.IsUnspecified() && !ip.IsLoopback() {
			r.Nodes = append(r.Nodes, ip)
		}
	}
	ports, chosen, err := manager.Opened(ctx)
	if err != nil {
		return r, err
	}
	for _, service := range chosen {
		e.Log.Warn("service " + service + " leaves the choice of its published port to the nodes: the firewall keeps it closed until it has a number")
	}
	for _, p := range ports {
		r.Ports = append(r.Ports, firewall.Port{Number: int(p.PublishedPort), Protocol: string(p.Protocol)})
	}
	return r, nil
}

// resolve gives the addresses of a machine that is known by an address or a name.
func (e *Environment) resolve(ctx context.Context, address string) []netip.Addr {
	if ip, err := netip.ParseAddr(address); err == nil {
		return []netip.Addr{ip}
	}
	if address == "" {
		return nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", address)
	if err != nil {
		e.Log.Warn("the firewall does not know its address until it has joined", "node", address, "error", err)
	}
	return found
}

// guard puts the firewall on a machine that is about to join. One that is to
// have none, and has one from before, learns of the others all the same.
func (f *forming) guard(ctx context.Context, m providers.Machine, engine *swarm.Engine) error {
	if m.Local {
		return nil
	}
	do := firewall.Install
	if f.unguarded {
		do = firewall.Update
	}
	state, err := do(ctx, engine.Conn(), f.rules)
	if state == firewall.Passing {
		f.env.Log.Warn("its firewall is gone after a restart: there is no systemd that could bring it back", "node", m.Name)
	}
	return err
}

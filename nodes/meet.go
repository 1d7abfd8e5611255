package nodes

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"skep/providers"
	"skep/swarm"
)

// meets refuses machines that could not reach each other: what is on this
// computer alone beside what is elsewhere, and what has a private address only
// beside what has public ones.
func meets(all []providers.Machine, private bool) error {
	if i := slices.IndexFunc(all, func(m providers.Machine) bool { return m.Local }); i >= 0 {
		for _, m := range all {
			if m.Driver != all[i].Driver {
				return fmt.Errorf("%s (%s) is on this computer alone, behind its NAT: %s (%s) cannot reach it", all[i].Name, all[i].Driver, m.Name, m.Driver)
			}
		}
	}
	if private {
		for _, m := range all {
			if m.PrivateAddress == "" {
				return fmt.Errorf("%s has no private address, and the nodes of %s reach each other at theirs", m.Name, m.Env)
			}
		}
		return nil
	}
	outside := slices.IndexFunc(all, func(m providers.Machine) bool { return !behindNAT(m.Address) })
	inside := slices.IndexFunc(all, func(m providers.Machine) bool { return behindNAT(m.Address) })
	if outside >= 0 && inside >= 0 {
		return fmt.Errorf("%s has only the private address %s and is behind NAT: %s at %s cannot reach it",
			all[inside].Name, all[inside].Address, all[outside].Name, all[outside].Address)
	}
	return nil
}

// mixes refuses, before anything is made, machines on this computer beside
// others.
func mixes(before []providers.Machine, specs []providers.Spec) error {
	for _, m := range before {
		for _, s := range specs {
			if m.Local && s.Driver != m.Driver || !m.Local && s.Driver == defaultDriver {
				here, there := m.Name+" ("+m.Driver+")", s.Name+" ("+s.Driver+")"
				if !m.Local {
					here, there = there, here
				}
				return fmt.Errorf("%s is on this computer alone, behind its NAT: %s could not reach it", here, there)
			}
		}
	}
	return nil
}

// behindNAT says whether an address is none that is reached from everywhere. A
// name is left to be found out by use.
func behindNAT(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && (providers.Private(ip) || ip.IsLoopback() || ip.IsLinkLocalUnicast())
}

// reached is where other nodes reach a machine.
func reached(m providers.Machine, private bool) string {
	if private {
		return m.PrivateAddress
	}
	return m.Address
}

// private says whether nodes reach each other at their private addresses: as
// those do that are there, else as is asked for.
func (e *Environment) private(ctx context.Context, all []providers.Machine, manager *swarm.Engine, asked bool) (bool, error) {
	if manager == nil {
		return asked, nil
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return false, err
	}
	for _, m := range all {
		n, ok := swarm.Member(members, m.Name)
		if !ok || m.Address == m.PrivateAddress {
			continue
		}
		at := swarm.Address(n)
		if ip, err := netip.ParseAddr(at); err != nil || ip.IsUnspecified() {
			continue // it says nothing of itself
		}
		private := at == m.PrivateAddress
		if asked && !private {
			return false, fmt.Errorf("the nodes of %s reach each other at their public addresses already: leave --private out", e.Name)
		}
		return private, nil
	}
	return asked, nil
}

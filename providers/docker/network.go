package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
)

// subnets are tried in order. The first keep clear of what engines take by
// themselves: 172.16/12 and 192.168/16 for bridges, 10.0/16 and up for overlays.
// Those outside 10/8, which a VPN may route as a whole, come after them: shared
// address space, then the far ends of what bridges take.
func subnets() []netip.Prefix {
	var all []netip.Prefix
	for _, net := range []struct {
		a, b byte
		from int
	}{{10, 201, 0}, {100, 127, 0}, {172, 31, 0}, {192, 168, 200}} {
		for n := range 256 {
			if n >= net.from {
				all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{net.a, net.b, byte(n), 0}), 24))
			}
		}
	}
	return all
}

// ensureNetwork finds or makes the environment's own network and says whether
// its nodes may be privileged, which is found out once and kept as its label.
func (d *Driver) ensureNetwork(ctx context.Context, docker *client.Client, env, image string) (network.Inspect, error) {
	if err := removeProbes(ctx, docker, env); err != nil {
		return network.Inspect{}, err
	}
	found, err := findNetwork(ctx, docker, env)
	if !errdefs.IsNotFound(err) {
		return found, err
	}
	if ctx.Err() != nil {
		return found, context.Cause(ctx)
	}
	ctx, cancel := unbroken(ctx)
	defer cancel()
	privileged, err := mayBePrivileged(ctx, docker, env, image)
	if err != nil {
		return found, err
	}
	return makeNetwork(ctx, docker, env, privileged)
}

func findNetwork(ctx context.Context, docker *client.Client, env string) (network.Inspect, error) {
	found, err := docker.NetworkInspect(ctx, networkName(env), network.InspectOptions{})
	switch {
	case err != nil:
		return found, fmt.Errorf("look for network %s: %w", networkName(env), err)
	case found.Labels[labelEnv] != env:
		return found, fmt.Errorf("the network %s on the local engine is not skep's: rename it, or name the environment differently", networkName(env))
	}
	return found, nil
}

func makeNetwork(ctx context.Context, docker *client.Client, env string, privileged bool) (network.Inspect, error) {
	var none network.Inspect
	taken := hostPrefixes()
	for _, subnet := range subnets() {
		if overlapsAny(subnet, taken) {
			continue
		}
		_, err := docker.NetworkCreate(ctx, networkName(env), network.CreateOptions{
			Driver: "bridge",
			Labels: map[string]string{labelEnv: env, labelPrivileged: fmt.Sprint(privileged)},
			IPAM: &network.IPAM{Config: []network.IPAMConfig{{
				Subnet: subnet.String(), Gateway: subnet.Addr().Next().String(),
			}}},
		})
		switch {
		case err == nil:
			return findNetwork(ctx, docker, env)
		case errdefs.IsConflict(err):
			// A killed skep's request was still on its way when it was looked for.
			var found network.Inspect
			err = begun(ctx, func() error { found, err = findNetwork(ctx, docker, env); return err })
			return found, err
		case strings.Contains(err.Error(), "overlap"):
			continue // another network of this engine has it
		default:
			return none, fmt.Errorf("make network %s: %w", networkName(env), err)
		}
	}
	return none, fmt.Errorf("no free subnet for %s: all that skep tries, from 10.201.0.0/24 on, are in use on this host", env)
}

// hostPrefixes are the networks that this host is on. Where the engine runs
// elsewhere they do no harm.
func hostPrefixes() []netip.Prefix {
	var taken []netip.Prefix
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			taken = append(taken, p.Masked())
		}
	}
	return append(taken, routes()...)
}

// overlapsAny leaves out routes as wide as the default one, or its halves that
// a VPN puts in its place: they lead everywhere and take nothing.
func overlapsAny(p netip.Prefix, all []netip.Prefix) bool {
	for _, other := range all {
		if other.Bits() >= narrowest && p.Overlaps(other) {
			return true
		}
	}
	return false
}

// narrowest is the length in bits of a prefix that may be somebody's network.
const narrowest = 8

// freeAddresses gives n addresses of the network that no node has.
func freeAddresses(env network.Inspect, nodes []container.Summary, n int) ([]string, error) {
	if len(env.IPAM.Config) == 0 {
		return nil, fmt.Errorf("network %s has no subnet", env.Name)
	}
	subnet, err := netip.ParsePrefix(env.IPAM.Config[0].Subnet)
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", env.Name, err)
	}
	taken := map[string]bool{}
	for _, c := range nodes {
		if e := c.NetworkSettings.Networks[env.Name]; e != nil && e.IPAMConfig != nil {
			taken[e.IPAMConfig.IPv4Address] = true
		}
	}
	var free []string
	// From the third address on: the network's own and the gateway come first.
	for a := subnet.Addr().Next().Next(); len(free) < n; a = a.Next() {
		if !subnet.Contains(a.Next()) {
			return nil, errors.New("the environment's subnet " + subnet.String() + " is full")
		}
		if !taken[a.String()] {
			free = append(free, a.String())
		}
	}
	return free, nil
}

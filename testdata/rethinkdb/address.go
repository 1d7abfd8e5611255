package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// hostPort is how a server is called: a name or an IP address, and a port.
type hostPort struct {
	Host string
	Port uint16
}

func (h hostPort) String() string { return net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port))) }

func parseHostPort(text string, port uint16) (hostPort, error) {
	host, number, err := net.SplitHostPort(text)
	if err != nil { // no port in it
		host = text
	} else {
		value, err := strconv.ParseUint(number, 10, 16)
		if err != nil || value == 0 {
			return hostPort{}, fmt.Errorf("%q has no valid port", text)
		}
		port = uint16(value)
	}
	if host == "" {
		return hostPort{}, fmt.Errorf("%q names no host", text)
	}
	return hostPort{host, port}, nil
}

// address is one server as far as the network goes: its names, and the IP addresses they had when they were looked up.
type address struct {
	names []hostPort
	ips   []netip.AddrPort // sorted, none twice
}

// lookUp fails when any of the names does not resolve.
func lookUp(ctx context.Context, names []hostPort) (address, error) {
	found := address{names: names}
	for _, name := range names {
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name.Host)
		if err != nil {
			return address{}, err
		}
		for _, ip := range ips {
			found.ips = append(found.ips, netip.AddrPortFrom(ip.Unmap().WithZone(""), name.Port))
		}
	}
	slices.SortFunc(found.ips, netip.AddrPort.Compare)
	found.ips = slices.Compact(found.ips)
	return found, nil
}

// lookUpAll makes one address of each name, for each stands for one server.
func lookUpAll(ctx context.Context, names []hostPort) ([]address, error) {
	var all []address
	for _, name := range names {
		found, err := lookUp(ctx, []hostPort{name})
		if err != nil {
			return nil, fmt.Errorf("--join %s: %w", name, err)
		}
		if !slices.ContainsFunc(all, func(a address) bool { return a.names[0] == name }) {
			all = append(all, found)
		}
	}
	return all, nil
}

// sameServer tells whether a server that calls itself theirs can be the one looked for at a: they share an address.
// Loopback addresses say nothing, unless one side has no other. This is why a server cannot be joined through a virtual
// IP or a published port: it does not count them among its own.
func (a address) sameServer(theirs address) bool {
	mine, others := withoutLoopback(a.ips), withoutLoopback(theirs.ips)
	return len(mine) == 0 || len(others) == 0 || shareAny(mine, others)
}

// match is the index of the address in the list that means the server of a: one with a shared address, if possible not a
// loopback one; -1 if there is none. A name that resolves to this server and to others matches as a whole.
func (a address) match(list []address) int {
	for _, ips := range [][]netip.AddrPort{withoutLoopback(a.ips), a.ips} {
		if i := slices.IndexFunc(list, func(other address) bool { return shareAny(other.ips, ips) }); i >= 0 {
			return i
		}
	}
	return -1
}

func shareAny(a, b []netip.AddrPort) bool {
	return slices.ContainsFunc(a, func(ip netip.AddrPort) bool { return slices.Contains(b, ip) })
}

func withoutLoopback(ips []netip.AddrPort) []netip.AddrPort {
	return slices.DeleteFunc(slices.Clone(ips), func(ip netip.AddrPort) bool { return ip.Addr().IsLoopback() })
}

// localAddresses are those of all interfaces. In a container of a swarm docker_gwbridge's is among them, which
// containers on other machines have too. IPv6 link-local ones mean nothing elsewhere and are left out.
func localAddresses() ([]netip.Addr, error) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var local []netip.Addr
	for _, one := range interfaces {
		prefix, err := netip.ParsePrefix(one.String())
		if err != nil {
			return nil, err
		}
		if ip := prefix.Addr().Unmap(); !ip.IsLinkLocalUnicast() {
			local = append(local, ip)
		}
	}
	return local, nil
}

// listen opens the port on each of the addresses, or on all there are if none is given.
func listen(ctx context.Context, addresses []netip.Addr, port uint16) ([]net.Listener, error) {
	names := []string{hostPort{"", port}.String()}
	if addresses != nil {
		names = nil
		for _, one := range addresses {
			names = append(names, netip.AddrPortFrom(one, port).String())
		}
	}
	var listeners []net.Listener
	for _, name := range names {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", name)
		if err != nil {
			for _, open := range listeners {
				open.Close()
			}
			return nil, err
		}
		listeners = append(listeners, listener)
	}
	return listeners, nil
}

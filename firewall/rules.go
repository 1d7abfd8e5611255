package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Port is one that services publish.
type Port struct {
	Number   int
	Protocol string // tcp, udp or sctp
}

// Rules are what a node lets in besides SSH.
type Rules struct {
	Nodes []netip.Addr // the environment's own, the node itself may be among them
	Ports []Port       // published
}

// dockerAPI is Docker's own port over TLS. It is opened for nobody.
const dockerAPI = 2376

// family is what IPv4 and IPv6 have different.
type family struct {
	has  func(netip.Addr) bool
	icmp string
	dhcp string // the ports of the replies
}

func v4() family {
	return family{netip.Addr.Is4, "icmp", "--sport 67 --dport 68"}
}

// v6 needs all of its ICMP: addresses of neighbours are found by it.
func v6() family {
	return family{netip.Addr.Is6, "ipv6-icmp", "--sport 547 --dport 546"}
}

// text is the rules as iptables-restore reads them. They are in the table
// mangle, in PREROUTING: conntrack has come before, so that replies are known,
// and Docker's DNAT comes after, so that ports are the published ones, and what
// would be forwarded to containers is seen like everything else.
//
// What comes from bridges of Docker, and of others of its kind, is from this
// computer's own guests. The marks are filled
// in on the node: its uplinks, where they are named like such a bridge, and the
// port of its sshd.
//
// What is for the swarm's own ports goes by where it comes from alone, also when
// a connection has been there before: VXLAN from a node that has left would
// count as established for ever. An encrypted packet comes here twice, as ESP
// and then as the VXLAN that was in it.
func (r Rules) text(f family) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("*mangle")
	for _, chain := range []string{chainAll, chainIn, chainNodes} {
		line(":%s - [0:0]", chain)
	}
	line("%s", markUplinks)
	for _, bridge := range []string{"lo", "docker0", "docker_gwbridge", "br-+", "veth+", "virbr+", "lxdbr+", "podman+"} {
		line("-A %s -i %s -j RETURN", chainAll, bridge)
	}
	line("-A %s -j %s", chainAll, chainIn)
	line("-A %s -p tcp -m multiport --dports 2377,7946 -m conntrack --ctdir ORIGINAL -g %s", chainIn, chainNodes)
	line("-A %s -p udp -m multiport --dports 4789,7946 -m conntrack --ctdir ORIGINAL -g %s", chainIn, chainNodes)
	line("-A %s -p esp -g %s", chainIn, chainNodes)
	line("-A %s -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN", chainIn)
	line("-A %s -p %s -j RETURN", chainIn, f.icmp)
	line("-A %s -p udp -m udp %s -j RETURN", chainIn, f.dhcp)
	line("-A %s -p tcp -m tcp --dport 22 -j RETURN", chainIn)
	line("-A %s -p tcp -m tcp --dport %s -j RETURN", chainIn, markSSH)
	for _, p := range ranges(r.Ports) {
		line("-A %s -p %s -m %[2]s --dport %s -j RETURN", chainIn, p.protocol, p)
	}
	line("-A %s -j DROP", chainIn)
	for _, node := range addresses(r.Nodes, f.has) {
		line("-A %s -s %s -j RETURN", chainNodes, node)
	}
	line("-A %s -j DROP", chainNodes)
	line("COMMIT")
	return b.String()
}

const (
	chainAll   = "SKEP-FW"    // everything that arrives
	chainIn    = "SKEP-IN"    // what comes from outside
	chainNodes = "SKEP-NODES" // what only the environment's nodes may send

	markUplinks = "# uplinks"
	markSSH     = "@SSH@"
)

// addresses are those of one family, each once, in order.
func addresses(all []netip.Addr, has func(netip.Addr) bool) []netip.Addr {
	var some []netip.Addr
	for _, a := range all {
		if a = a.Unmap().WithZone(""); has(a) {
			some = append(some, a)
		}
	}
	slices.SortFunc(some, netip.Addr.Compare)
	return slices.Compact(some)
}

// span is ports that follow each other.
type span struct {
	protocol    string
	first, last int
}

func (s span) String() string {
	if s.first == s.last {
		return fmt.Sprint(s.first)
	}
	return fmt.Sprintf("%d:%d", s.first, s.last)
}

// ranges puts ports together that follow each other.
func ranges(ports []Port) []span {
	sorted := slices.SortedFunc(slices.Values(ports), func(a, b Port) int {
		if a.Protocol != b.Protocol {
			return strings.Compare(a.Protocol, b.Protocol)
		}
		return a.Number - b.Number
	})
	var all []span
	for _, p := range sorted {
		if p.Number == dockerAPI && p.Protocol == "tcp" {
			continue
		}
		if n := len(all); n > 0 && all[n-1].protocol == p.Protocol && p.Number-all[n-1].last <= 1 {
			all[n-1].last = p.Number
			continue
		}
		all = append(all, span{p.Protocol, p.Number, p.Number})
	}
	return all
}

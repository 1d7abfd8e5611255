package ssh

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"skep/providers"
	"skep/tunnel"
)

// The engine has to know what skep asks for (API 1.41).
const (
	oldestMajor = 20
	oldestMinor = 10
)

// What is run on hosts, as root. They are plain sh, and change nothing unless
// their name says so.
var (
	//go:embed scripts/visit.sh
	visitScript string
	//go:embed scripts/install.sh
	installScript string
	//go:embed scripts/prepare.sh
	prepareScript string
	//go:embed scripts/undo.sh
	undoScript string
)

// facts are what a host says of itself.
type facts struct {
	reached   string // its address as seen from here
	values    map[string]string
	addresses []address
}

type address struct {
	device string
	ip     netip.Addr
}

// visit asks a host about itself.
func visit(ctx context.Context, s providers.Spec) (facts, error) {
	conn, err := connect(ctx, s.Name, s.Host, s.Options)
	if err != nil {
		return facts{}, fmt.Errorf("host %s: %w", s.Host, err)
	}
	defer func() { _ = conn.Close() }()
	out, err := asRoot(ctx, conn, visitScript, nil)
	if err != nil {
		return facts{}, fmt.Errorf("host %s: %w", s.Host, err)
	}
	f := parse(out)
	if host, _, err := net.SplitHostPort(conn.RemoteAddr().String()); err == nil {
		f.reached = host
	}
	return f, nil
}

// asRoot runs a script with variables set, through sudo where the user is
// another one.
func asRoot(ctx context.Context, conn *tunnel.Conn, script string, variables map[string]string) (string, error) {
	var set strings.Builder
	for name, value := range variables {
		fmt.Fprintf(&set, "%s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	user := conn.Endpoint().User
	out, err := conn.Run(ctx, `if [ "$(id -u)" = 0 ]; then exec sh -s; else exec sudo -n sh -s; fi`, strings.NewReader(set.String()+script))
	var failed *tunnel.CommandError
	if errors.As(err, &failed) && user != "root" && strings.Contains(failed.Words, "sudo:") {
		return "", fmt.Errorf("%s may not use sudo without a password there (%s): log in as root, or allow it in /etc/sudoers.d (%s ALL=(ALL) NOPASSWD: ALL)",
			user, strings.ReplaceAll(failed.Words, "\n", "; "), user)
	}
	return out, err
}

// parse reads lines KEY=VALUE, and address=DEVICE ADDRESS/BITS for each address.
func parse(out string) facts {
	f := facts{values: map[string]string{}}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key != "address" {
			f.values[key] = value
			continue
		}
		device, cidr, _ := strings.Cut(value, " ")
		ip, _, _ := strings.Cut(cidr, "/")
		if parsed, err := netip.ParseAddr(ip); err == nil && !dockers(device) {
			f.addresses = append(f.addresses, address{device, parsed})
		}
	}
	return f
}

// dockers says whether an interface is one that engines make, and leads nowhere.
func dockers(device string) bool {
	for _, prefix := range []string{"docker", "br-", "veth", "virbr", "lo"} {
		if strings.HasPrefix(device, prefix) {
			return true
		}
	}
	return false
}

// own says whether the host is reached at an address of its own.
func (f facts) own() bool {
	reached, err := netip.ParseAddr(f.reached)
	return err == nil && slices.ContainsFunc(f.addresses, func(a address) bool { return a.ip == reached.Unmap().WithZone("") })
}

// private is where hosts of the same network reach it: "" where it has no
// address that only they reach.
func (f facts) private() string {
	if ip, err := netip.ParseAddr(f.reached); err == nil && f.own() && providers.Private(ip.Unmap()) {
		return f.reached
	}
	for _, a := range f.addresses {
		if a.ip.Is4() && providers.Private(a.ip) {
			return a.ip.String()
		}
	}
	return ""
}

// identity tells machines apart. Copies of one machine have the same id, so its
// addresses belong to it.
func (f facts) identity() string {
	var all []string
	for _, a := range f.addresses {
		all = append(all, a.ip.String())
	}
	slices.Sort(all)
	return strings.Join(append([]string{f.values["machine"]}, all...), " ")
}

// judge refuses hosts that cannot be the nodes that they are to be.
func judge(specs []providers.Spec, found []facts, recorded []record) error {
	var errs []error
	hosts := map[string]string{} // by identity
	for i, s := range specs {
		why, machine := unfit(s, found[i]), found[i].identity()
		if other := hosts[machine]; other != "" {
			why = "is the same machine as " + other
		}
		hosts[machine] = s.Host
		for _, r := range recorded {
			if r.Name != s.Name && r.Machine == machine {
				why = "is the same machine as " + r.Host + ", which is " + r.Name + " already"
			}
		}
		if why != "" {
			errs = append(errs, fmt.Errorf("host %s %s", s.Host, why))
		}
	}
	return errors.Join(errs...)
}

// unfit says why a host cannot be the node, "" for no reason.
func unfit(s providers.Spec, f facts) string {
	env, node, _ := strings.Cut(f.values["node"], " ")
	ours := env == s.Env && node == s.Name
	switch {
	case f.values["system"] != "Linux":
		return fmt.Sprintf("runs %s: nodes run Linux", f.values["system"])
	case env != "" && env != s.Env:
		return fmt.Sprintf("is %s of the environment %s already: `skep nodes rm %s %s` on the computer that made it frees the host", node, env, env, node)
	case env != "" && !ours:
		return fmt.Sprintf("is %s of %s already: name the hosts in the order that they were named in at first", node, env)
	}
	if why := f.lacks(s); why != "" {
		return why
	}
	if member := f.values["swarm"]; member != "" && member != "inactive" && !ours {
		return "belongs to another swarm: `docker swarm leave` there takes it out, or name another host"
	}
	if f.values["swarm"] == "inactive" && f.values["gossips"] != "" {
		return "has a Docker that still gossips with a swarm that it left, and would be deaf in another one: restart Docker there"
	}
	return f.hidden(s)
}

// lacks says what is wrong with its engine.
func (f facts) lacks(s providers.Spec) string {
	version, words := f.values["engine"], f.values["words"]
	switch {
	case f.values["docker"] == "" && s.Install && f.values["packages"] != "":
		return ""
	case f.values["docker"] == "" && s.Install:
		return fmt.Sprintf("has no Docker, and skep knows no package of its system (%s): install Docker Engine %d.%d or later there", f.values["distribution"], oldestMajor, oldestMinor)
	case f.values["docker"] == "":
		return fmt.Sprintf("has no Docker: --install installs the distribution's own, or install Docker Engine %d.%d or later there", oldestMajor, oldestMinor)
	case version == "" && s.Install:
		return "" // it is started
	case version == "":
		return "has a Docker that does not answer: " + words
	case !recent(version):
		return fmt.Sprintf("has Docker %s, and skep needs %d.%d or later", version, oldestMajor, oldestMinor)
	}
	return ""
}

func recent(version string) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err == nil && err2 == nil && (major > oldestMajor || major == oldestMajor && minor >= oldestMinor)
}

// hidden says why other nodes would not reach it.
func (f facts) hidden(s providers.Spec) string {
	switch {
	case s.Private && f.private() == "":
		return "has no private address, and with --private the nodes reach each other at theirs"
	case !s.Private && strings.Contains(f.reached, ":"):
		return fmt.Sprintf("is reached at %s, and the nodes reach each other by IPv4: name its IPv4 address", f.reached)
	case s.Private || f.own():
		return ""
	case f.private() != "":
		return fmt.Sprintf("is behind NAT: it is reached at %s, which is none of its addresses (%s), so other nodes cannot tell it from another; if all nodes are in one private network, say --private",
			f.reached, f.private())
	}
	return fmt.Sprintf("is reached at %s, which is none of its addresses: other nodes would not reach it there", f.reached)
}

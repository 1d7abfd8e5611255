package ssh

import (
	"strings"
	"testing"

	"skep/providers"
)

// told is what a host that is fit says, with other lines in place of some.
func told(reached string, others ...string) facts {
	lines := []string{
		"system=Linux", "machine=abc", "node=", "distribution=debian", "packages=apt-get", "docker=yes", "engine=20.10.24+dfsg1", "swarm=inactive",
		"address=lo 127.0.0.1/8", "address=docker0 172.17.0.1/16", "address=eth0 203.0.113.5/24", "address=eth1 10.0.0.5/16",
	}
	f := parse(strings.Join(append(lines, others...), "\n"))
	f.reached = reached
	return f
}

func TestWhatANodeMayBe(t *testing.T) {
	spec := func(change func(*providers.Spec)) providers.Spec {
		s := providers.Spec{Env: "prd", Name: "prd-manager-1", Host: "root@203.0.113.5"}
		change(&s)
		return s
	}
	as := spec(func(*providers.Spec) {})
	install := spec(func(s *providers.Spec) { s.Install = true })
	private := spec(func(s *providers.Spec) { s.Private = true })
	for _, test := range []struct {
		name string
		spec providers.Spec
		host facts
		want string // "" is fit
	}{
		{"fit", as, told("203.0.113.5"), ""},
		{"another system", as, told("203.0.113.5", "system=FreeBSD"), "runs FreeBSD"},
		{"no engine", as, told("203.0.113.5", "docker=", "engine="), "--install"},
		{"to be installed", install, told("203.0.113.5", "docker=", "engine="), ""},
		{"of no known package", install, told("203.0.113.5", "docker=", "engine=", "packages=", "distribution=rhel"), "rhel"},
		{"silent", as, told("203.0.113.5", "engine=", "words=Cannot connect"), "Cannot connect"},
		{"to be started", install, told("203.0.113.5", "engine=", "words=Cannot connect"), ""},
		{"too old", as, told("203.0.113.5", "engine=19.03.15"), "20.10"},
		{"new", as, told("203.0.113.5", "engine=28.5.2"), ""},
		{"in another swarm", as, told("203.0.113.5", "swarm=active"), "another swarm"},
		{"in this one", as, told("203.0.113.5", "swarm=active", "node=prd prd-manager-1"), ""},
		{"of another environment", as, told("203.0.113.5", "node=tst tst-worker-1"), "nodes rm tst tst-worker-1"},
		{"another node", as, told("203.0.113.5", "node=prd prd-worker-1"), "order"},
		{"still gossiping", as, told("203.0.113.5", "gossips=yes"), "restart Docker"},
		{"behind NAT", as, told("198.51.100.7"), "--private"},
		{"behind NAT, all private", private, told("198.51.100.7"), ""},
		{"at the engine's bridge", as, told("172.17.0.1"), "none of its addresses"},
	} {
		if why := unfit(test.spec, test.host); test.want == "" && why != "" || !strings.Contains(why, test.want) {
			t.Errorf("%s: %q, want %q", test.name, why, test.want)
		}
	}
	if a := told("203.0.113.5").private(); a != "10.0.0.5" {
		t.Errorf("private address %q", a)
	}
}

func TestTwoNamesOfOneMachine(t *testing.T) {
	a, b := providers.Spec{Name: "prd-manager-1", Host: "root@203.0.113.5"}, providers.Spec{Name: "prd-worker-1", Host: "root@web"}
	one := told("203.0.113.5")
	if err := judge([]providers.Spec{a, b}, []facts{one, one}, nil); err == nil || !strings.Contains(err.Error(), "same machine as root@203.0.113.5") {
		t.Errorf("named twice: %v", err)
	}
	before := []record{{Name: "prd-worker-2", Host: "root@old", Machine: one.identity()}}
	if err := judge([]providers.Spec{a}, []facts{one}, before); err == nil || !strings.Contains(err.Error(), "root@old") {
		t.Errorf("there already: %v", err)
	}
	// A copy has the same id, and addresses of its own.
	other := told("203.0.113.6", "address=eth0 203.0.113.6/24")
	if err := judge([]providers.Spec{a, b}, []facts{one, other}, nil); err != nil {
		t.Errorf("a copy: %v", err)
	}
}

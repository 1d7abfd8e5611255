package e2e

import (
	"strings"
	"testing"
)

// A way between two nodes that carries nothing, and one that carries what is
// small alone, are named. Mended, or measured, the same hosts become nodes, and
// networks are made for the narrowest way.
func TestDataPath(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "e2e-path", 3)
	env := f.environment("path")
	t.Cleanup(func() { f.run("nodes", "rm", "-f", env) })
	if r := f.create(env, []int{0, 1}, "--encrypt"); r.code != 1 || !strings.Contains(r.errs, "has no ESP, which encrypted overlay networks need") {
		t.Errorf("--encrypt without ESP: exit %d: %s", r.code, r.errs)
	}

	// What is large does not get to host 1, and no echo that would tell. A narrow
	// link alone is no hindrance here: the engine's network passes whole batches
	// of TCP's packets as one, whatever its links' MTU.
	f.on(1, "iptables -I INPUT -p udp --dport 4789 -m length --length 1401:65535 -j DROP; iptables -I INPUT -p icmp -j DROP")
	f.on(2, "iptables -I INPUT -p udp --dport 4789 -j DROP")
	r := f.create(env, []int{0, 1, 2})
	manager, narrow, blocked := env+"-manager-1", env+"-worker-1", env+"-worker-2"
	for _, want := range []string{
		"between containers on " + manager + " and " + narrow + " small packets pass and large ones do not",
		"nothing gets from a container on " + manager + " to one on " + blocked,
		"open UDP 4789",
	} {
		if r.code != 1 || !strings.Contains(r.errs, want) {
			t.Errorf("exit %d, and no %q in: %s", r.code, want, r.errs)
		}
	}
	if strings.Contains(r.errs, "between containers on "+manager+" and "+blocked) {
		t.Errorf("it blames the wrong pair: %s", r.errs)
	}

	f.on(1, "iptables -D INPUT -p udp --dport 4789 -m length --length 1401:65535 -j DROP; iptables -D INPUT -p icmp -j DROP; ip link set eth0 mtu 1400")
	f.on(2, "iptables -D INPUT -p udp --dport 4789 -j DROP")
	for i := range f.addresses {
		f.restartDocker(i) // which else keeps keys of the swarm that it has left
	}
	r = f.create(env, []int{0, 1, 2})
	if r.code != 0 || !strings.Contains(r.errs, "packets of 1400 bytes at most get to") {
		t.Fatalf("create: exit %d: %s", r.code, r.errs)
	}
	if left := f.on(0, "docker service ls -q; docker network ls -q --filter label=skep.stack"); left != "" {
		t.Errorf("left of the probe: %s", left)
	}
	f.must("discovery", "create", env)
	for _, network := range []string{"ingress", "dbnet"} {
		if options := f.on(0, "docker network inspect -f '{{.Options}}' "+network); !strings.Contains(options, "driver.mtu:1400") {
			t.Errorf("network %s has the options %s", network, options)
		}
	}
}

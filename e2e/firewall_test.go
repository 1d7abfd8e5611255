package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const publishedPort = 8088

// tried are the ports that a stranger tries: SSH, Docker's, the swarm's, one
// that an app publishes at times, one that somebody else's container has.
func tried() []int { return []int{22, 2375, 2376, 2377, 4789, 7946, publishedPort, 9999} }

// What a stranger on the same network and this computer reach of the nodes is
// SSH and published ports alone, on IPv4 and IPv6, whatever comes and goes and
// starts again.
func TestFirewall(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "e2e-firewall", 3)
	env := f.environment("firewall")
	t.Cleanup(func() { f.run("nodes", "rm", "-f", env) })
	if r := f.create(env, []int{0, 1}); r.code != 0 || !strings.Contains(r.errs, "there is no ESP in the kernel of") {
		t.Fatalf("create: exit %d: %s", r.code, r.errs)
	}
	f.reaches(0, 22)
	f.reaches(1, 22)
	f.dropsSwarmTraffic(0)

	// Kept off the node that comes later, so that its tasks come back where they were.
	f.must("app", "deploy", "-p", fmt.Sprintf("%d:9090", publishedPort), "-r", "2", "--placement", "node.hostname!="+env+"-worker-2", "hello", helloImage, env)
	// Somebody's container, which Docker's own rules would let everybody reach.
	f.on(1, "docker run -d --restart always -p 9999:9090 "+helloImage)
	f.reaches(0, 22, publishedPort)
	f.reaches(1, 22, publishedPort)
	f.answers(0)
	f.answers(1)

	// A third node is let in by the others, and lets in what they do.
	if r := f.create(env, []int{2}); r.code != 0 {
		t.Fatalf("create: exit %d: %s", r.code, r.errs)
	}
	f.wantNodes(env, "manager-1", "worker-1", "worker-2")
	f.reaches(2, 22)
	for i := range f.addresses {
		if rules := f.on(i, "iptables -t mangle -S"); strings.Count(rules, "-A SKEP-NODES -s") != 3 || !strings.Contains(rules, "--dport "+strconv.Itoa(publishedPort)+" ") {
			t.Errorf("host %d has the rules\n%s", i, rules)
		}
	}

	// After a restart of the machine, and of Docker alone, nothing else answers.
	docker(t, "restart", f.container(1))
	f.restartDocker(2)
	f.back(env)
	f.reaches(1, 22, publishedPort)
	f.reaches(2, 22)

	f.must("app", "rm", "hello", env)
	for i := range f.addresses {
		f.reaches(i, 22)
	}

	// One that leaves is let in no more, and keeps nothing of it.
	f.must("nodes", "rm", "--yes-lose-data", env, env+"-worker-2")
	f.unguarded(2)
	if rules := f.on(0, "iptables -t mangle -S SKEP-NODES"); strings.Contains(rules, f.addresses[2]) {
		t.Errorf("one that left is let in: %s", rules)
	}
	f.must("nodes", "rm", "-f", env)
	f.unguarded(0)
	f.unguarded(1)
}

// Without a firewall there is none, and a node that comes to it brings its own.
func TestNoFirewall(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "e2e-open", 1)
	env := f.environment("open")
	t.Cleanup(func() { f.run("nodes", "rm", "-f", env) })
	if r := f.create(env, []int{0}, "--no-firewall"); r.code != 0 {
		t.Fatalf("create: exit %d: %s", r.code, r.errs)
	}
	f.unguarded(0)
	f.must("app", "deploy", "-p", fmt.Sprintf("%d:9090", publishedPort), "hello", helloImage, env)
	f.unguarded(0)
}

// reaches checks which ports of a host answer a stranger and this computer.
func (f *fleet) reaches(i int, want ...int) {
	f.t.Helper()
	var script strings.Builder
	for _, address := range []string{f.addresses[i], f.v6[i]} {
		for _, port := range tried() {
			fmt.Fprintf(&script, "(timeout 1 bash -c 'exec 3<>/dev/tcp/%s/%d' 2>/dev/null && echo '%s %d') & ", address, port, address, port)
		}
	}
	here := map[string][]int{}
	var both sync.WaitGroup
	both.Go(func() {
		for _, address := range []string{f.addresses[i], f.v6[i]} {
			here[address] = f.dials(address)
		}
	})
	out := f.stranger(script.String() + "wait")
	both.Wait()
	for _, address := range []string{f.addresses[i], f.v6[i]} {
		var there []int
		for _, port := range tried() {
			if slices.Contains(strings.Split(out, "\n"), fmt.Sprintf("%s %d", address, port)) {
				there = append(there, port)
			}
		}
		if !slices.Equal(there, want) {
			f.t.Errorf("a stranger reaches %v of host %d at %s, want %v", there, i, address, want)
		}
		if !slices.Equal(here[address], want) {
			f.t.Errorf("this computer reaches %v of host %d at %s, want %v", here[address], i, address, want)
		}
	}
}

// dials tries the ports from this computer.
func (f *fleet) dials(address string) []int {
	open := make([]bool, len(tried()))
	var dialing sync.WaitGroup
	for i, port := range tried() {
		dialing.Go(func() {
			d := net.Dialer{Timeout: time.Second}
			if conn, err := d.DialContext(f.t.Context(), "tcp", net.JoinHostPort(address, strconv.Itoa(port))); err == nil {
				_ = conn.Close()
				open[i] = true
			}
		})
	}
	dialing.Wait()
	var there []int
	for i, port := range tried() {
		if open[i] {
			there = append(there, port)
		}
	}
	return there
}

// answers checks that it is the app that answers, to both, at both addresses.
func (f *fleet) answers(i int) {
	f.t.Helper()
	for _, address := range []string{f.addresses[i], f.v6[i]} {
		token := fmt.Sprintf("token-%d-%d", i, time.Now().UnixNano())
		request, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, "http://"+net.JoinHostPort(address, strconv.Itoa(publishedPort))+"/"+token, nil)
		if err != nil {
			f.t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			f.t.Error(err)
			continue
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || !strings.Contains(string(body), token) {
			f.t.Errorf("%s answers %q, %v", address, body, err)
		}
		out := f.stranger(fmt.Sprintf("exec 3<>/dev/tcp/%s/%d; printf 'GET /%s HTTP/1.0\\r\\n\\r\\n' >&3; timeout 5 cat <&3", address, publishedPort, token))
		if !strings.Contains(out, token) {
			f.t.Errorf("%s answers a stranger %q", address, out)
		}
	}
}

// dropsSwarmTraffic sends what only nodes may send, and sees it counted as
// dropped: UDP tells its sender nothing.
func (f *fleet) dropsSwarmTraffic(i int) {
	f.t.Helper()
	count := func(tool string) int {
		out := f.on(i, tool+" -t mangle -vxnL SKEP-NODES | tail -n 1 | awk '{print $1}'")
		n, err := strconv.Atoi(strings.TrimSpace(out))
		if err != nil {
			f.t.Fatal(err)
		}
		return n
	}
	for tool, address := range map[string]string{"iptables": f.addresses[i], "ip6tables": f.v6[i]} {
		before := count(tool)
		f.stranger(fmt.Sprintf("echo x >/dev/udp/%s/4789; echo x >/dev/udp/%s/7946", address, address))
		if now := count(tool); now != before+2 {
			f.t.Errorf("%s on host %d: %d of 2 packets were dropped", tool, i, now-before)
		}
	}
}

// back waits until every node is ready and the app's tasks run again.
func (f *fleet) back(env string) {
	f.t.Helper()
	eventually(f.t, 2*time.Minute, "all nodes are back", func() error {
		for _, n := range f.nodes(env) {
			if n.Swarm != "ready" {
				return fmt.Errorf("%s is %s", n.Name, n.Swarm)
			}
		}
		return nil
	})
	eventually(f.t, time.Minute, "the app answers on its nodes", func() error {
		for i := range 2 {
			if !slices.Contains(f.dials(f.addresses[i]), publishedPort) {
				return fmt.Errorf("host %d does not answer", i)
			}
		}
		return nil
	})
}

// unguarded checks that a host has no chain, no rule and no file of a firewall.
func (f *fleet) unguarded(i int) {
	f.t.Helper()
	if left := f.on(i, "iptables-save; ip6tables-save; ls /etc/skep 2>/dev/null; ls /etc/systemd/system"); strings.Contains(left, "SKEP") || strings.Contains(left, "firewall") {
		f.t.Errorf("left on host %d:\n%s", i, left)
	}
}

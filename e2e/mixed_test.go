package e2e

import (
	"strings"
	"testing"

	"skep/testdata/cloud/hosts"
)

// Nodes of several drivers are one environment: one list, one swarm, one
// removal. A driver that does not answer is named, and the others are not the
// worse for it.
func TestMixedEnvironment(t *testing.T) {
	t.Parallel()
	e := own(t, "mixed")
	e.stocked()
	e.boot(hosts.Host{Name: "pear"})
	e.know("pear", "22")
	env := e.environment("mixed")

	e.must("nodes", "create", "-d", "ssh", "--host", "root@"+e.address["pear"], env)
	e.refused(2, []string{"-d"}, "nodes", "create", "-d", "docker-machine", "-w", "1", env)
	e.refused(1, []string{"docker-machine-driver-nowhere"}, "nodes", "create", "-d", "nowhere", "-w", "1", env)
	e.refused(1, []string{"behind its NAT"}, "nodes", "create", "-d", "docker", "-w", "1", env)
	e.must("nodes", "create", "-d", "google", "-w", "1", env)
	e.wantNodes(env, "manager-1", "worker-1")
	var drivers []string
	for _, n := range e.nodes(env) {
		drivers = append(drivers, n.Driver)
	}
	if strings.Join(drivers, " ") != "ssh google" {
		t.Errorf("drivers %v", drivers)
	}
	e.refused(2, []string{"of ssh and of google"}, "nodes", "create", "-w", "1", env)

	e.env = append(e.env, "MACHINE_TEST_BROKEN=yes")
	r := e.must("nodes", "ls", env)
	if !strings.Contains(r.errs, "Invalid Credentials") || !strings.Contains(r.out, env+"-manager-1") || strings.Contains(r.out, env+"-worker-1 ") {
		t.Errorf("with a driver that fails: %s%s", r.out, r.errs)
	}
	e.refused(1, []string{"Invalid Credentials", env + "-worker-1"}, "nodes", "rm", "-f", env)
	e.env = e.env[:len(e.env)-1]
	if left := e.machines(); len(left) != 1 {
		t.Errorf("forgotten though it is there: %v", left)
	}
	e.must("nodes", "rm", "-f", env)
	e.asBefore("pear")
	if left := e.machines(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// What keeps a host from being a node is said before anything is changed there,
// and a host that does not answer any more is given up only when that is said.
func TestHostsThatExist(t *testing.T) {
	t.Parallel()
	e := own(t, "hosts")
	// Its distribution's package is a docker that was put out of the way.
	apt := "#!/bin/sh\necho \"$@\" >>/root/apt\n[ \"$6\" != docker.io ] || mv /usr/bin/docker.away /usr/bin/docker\n"
	e.boot(hosts.Host{Name: "pear", Files: map[string]string{"/usr/local/sbin/apt-get": apt}, Beside: "mv /usr/bin/docker /usr/bin/docker.away"})
	e.boot(deployHost(t, "plum"))
	pear, plum := "root@"+e.address["pear"], "deploy@"+e.address["plum"]+":2222"
	env := e.environment("hosts")
	create := func(words ...string) []string {
		return append(append([]string{"nodes", "create", "-d", "ssh"}, words...), env)
	}

	e.refused(1, []string{"known_hosts", "ssh-keyscan", e.address["pear"]}, create("--host", pear)...)
	e.know("pear", "22")
	e.know("plum", "2222")
	e.refused(1, []string{"--install"}, create("--host", pear)...)
	e.refused(1, []string{"sudo", "NOPASSWD"}, create("--host", plum)...)
	e.refused(2, []string{"named twice"}, create("--host", pear, "--host", pear)...)
	e.refused(2, []string{"USER@ADDRESS"}, create("--host", "root@"+e.address["pear"]+":ssh")...)
	e.refused(1, []string{"no route"}, create("--host", "root@"+strings.TrimSuffix(e.address["pear"], "2")+"250")...)
	e.in("plum", "mkdir /etc/sudoers.d; docker swarm init --advertise-addr 127.0.0.1")
	e.refused(1, []string{"another swarm"}, create("--install", "--host", pear, "--host", plum)...)
	e.in("plum", "docker swarm leave --force; docker network rm docker_gwbridge")
	if made := e.in("pear", "ls -d /etc/skep /root/apt 2>/dev/null; uname -n"); made != "pear" {
		t.Errorf("changed before it was refused: %s", made)
	}

	e.must(create("--install", "--host", pear, "--host", plum)...)
	e.wantNodes(env, "manager-1", "worker-1")
	if said := e.in("pear", "cat /root/apt"); !strings.Contains(said, "install docker.io") {
		t.Errorf("apt-get was told %q", said)
	}
	e.must("rqlite", "create", env)

	e.in("plum", "kill $(pgrep -f '[s]shd.*-p 2222')")
	e.refused(1, []string{env + "-worker-1", plum, "--yes-lose-data"}, "nodes", "rm", "-f", env)
	e.asBefore("pear")
	e.in("plum", deploySSH)
	e.must("nodes", "rm", "-f", env)
	e.asBefore("plum")

	e.must(create("--host", pear, "--host", plum)...)
	e.in("plum", "kill $(pgrep -f '[s]shd.*-p 2222')")
	e.refused(1, []string{plum}, "nodes", "rm", "-f", env)
	if r := e.must("nodes", "rm", "-f", "--yes-lose-data", env); !strings.Contains(r.errs, plum) {
		t.Errorf("forgotten without a word: %s", r.errs)
	}
	e.asBefore("pear")
}

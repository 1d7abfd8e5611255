package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func listen(t *testing.T, port string) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// Three managers: the loss of the leader is survived, and no step is taken that
// costs the quorum.
func TestThreeManagers(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	env := u.environment("three")
	u.must("nodes", "create", "-m", "3", env)
	u.wantNodes(env, "manager-1", "manager-2", "manager-3")

	leader := ""
	for _, n := range u.nodes(env) {
		if n.Leader {
			leader = n.Name
		}
	}
	if leader == "" {
		t.Fatal("no node is the leader")
	}
	docker(t, "kill", leader)
	// An election takes 10 to 20 s, and another one where its vote is split.
	eventually(t, 2*time.Minute, "another leader", func() error {
		for _, n := range u.nodes(env) {
			if n.Leader && n.Name != leader {
				return nil
			}
		}
		return fmt.Errorf("%s is dead", leader)
	})
	// Two of three are up: one more away and there is no quorum.
	other := env + "-manager-1"
	if other == leader {
		other = env + "-manager-2"
	}
	eventually(t, 2*time.Minute, "the dead one is known", func() error {
		r := u.run("nodes", "rm", "--yes-lose-data", env, other)
		if r.code != 1 || !strings.Contains(r.errs, "quorum") {
			return fmt.Errorf("rm of %s: exit %d", other, r.code)
		}
		return nil
	})
	// The dead one itself may go, and a new one come.
	u.must("nodes", "rm", "--yes-lose-data", env, leader)
	u.must("nodes", "create", "-m", "1", env)
	var names []string
	for _, n := range u.nodes(env) {
		names = append(names, n.Name)
		if n.Swarm != "ready" {
			t.Errorf("%s is %s", n.Name, n.Swarm)
		}
	}
	if len(names) != 3 {
		t.Errorf("nodes: %v", names)
	}
	u.must("nodes", "stop", env)
	u.must("nodes", "start", env)
	for _, n := range u.nodes(env) {
		if n.Swarm != "ready" {
			t.Errorf("%s is %s after stop and start", n.Name, n.Swarm)
		}
	}
}

// A restart of the engine that the nodes run on, in good order or by a crash,
// brings the same swarm back. The engine is one of its own in a container, so
// that the machine's is left in peace.
func TestEngineRestart(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	laptop := startLaptop(t, strings.TrimSpace(u.must("version").out))
	skep := func(args ...string) {
		docker(t, append([]string{"exec", laptop, "skep"}, args...)...)
	}
	skep("nodes", "create", "dev")
	members := docker(t, "exec", laptop, "docker", "exec", "dev-manager-1", "docker", "node", "ls", "-q")
	for _, signal := range []string{"TERM", "KILL"} {
		pid := docker(t, "exec", laptop, "cat", "/run/docker.pid")
		docker(t, "exec", laptop, "kill", "-"+signal, pid)
		eventually(t, time.Minute, "the engine is another process", func() error {
			now, err := output("docker", "exec", laptop, "cat", "/run/docker.pid")
			if err == nil && now == pid {
				err = fmt.Errorf("still %s", pid)
			}
			return err
		})
		eventually(t, time.Minute, "the swarm is back after SIG"+signal, func() error {
			out, err := output("docker", "exec", laptop, "skep", "nodes", "ls", "dev", "--json")
			if n := strings.Count(out, `"swarm": "ready"`); err == nil && n != 3 {
				err = fmt.Errorf("%d nodes are ready: %s", n, out)
			}
			return err
		})
		if now := docker(t, "exec", laptop, "docker", "exec", "dev-manager-1", "docker", "node", "ls", "-q"); now != members {
			t.Errorf("after SIG%s the swarm has other members: %s, were %s", signal, now, members)
		}
	}
	skep("nodes", "rm", "-f", "dev")
	if left := docker(t, "exec", laptop, "docker", "ps", "-aq"); left != "" {
		t.Errorf("left: %s", left)
	}
}

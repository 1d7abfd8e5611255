package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is taken back or taken out must never take the quorum of the others with
// it, and no second swarm comes up beside one.
func TestQuorumIsKept(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	env := u.environment("quorum")
	u.must("nodes", "create", "-m", "1", env)

	t.Run("interrupted while managers are added", func(t *testing.T) { interruptedManagers(t, u, env) })
	t.Run("the leader of two goes", func(t *testing.T) { leaderOfTwo(t, u, env) })
	t.Run("a manager that lost its membership", func(t *testing.T) { lostMembership(t, u, env) })
	t.Run("all managers gone", func(t *testing.T) { managersGone(t, u, env) })
}

func (u *user) swarmed(env string) int {
	n := 0
	for _, node := range u.nodes(env) {
		if node.Swarm == "ready" {
			n++
		}
	}
	return n
}

func interruptedManagers(t *testing.T, u *user, env string) {
	c := u.command(context.Background(), "nodes", "create", "-m", "2", env)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "another manager has joined", func() error {
		out, err := output("docker", "exec", env+"-manager-1", "docker", "node", "ls", "-q")
		if err == nil && len(strings.Fields(out)) < 2 {
			err = errors.New("none yet")
		}
		return err
	})
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := c.Wait(); errors.As(err, &exit) && exit.ExitCode() != 130 {
		t.Errorf("interrupted create: %v", err)
	}
	if exit != nil { // it had not finished before the signal came
		u.wantNodes(env, "manager-1")
	}
	if out := docker(t, "exec", env+"-manager-1", "docker", "node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"); !strings.Contains(out, "Leader") {
		t.Errorf("no leader: %s", out)
	}
}

func leaderOfTwo(t *testing.T, u *user, env string) {
	if n := len(u.nodes(env)); n < 2 {
		u.must("nodes", "create", "-m", fmt.Sprint(2-n), env)
	}
	leader := ""
	for _, n := range u.nodes(env) {
		if n.Leader {
			leader = n.Name
		}
	}
	u.must("nodes", "rm", env, leader)
	if all := u.nodes(env); len(all) == 0 || u.swarmed(env) != len(all) {
		t.Errorf("after the leader went: %+v", all)
	}
}

func lostMembership(t *testing.T, u *user, env string) {
	if n := len(u.nodes(env)); n < 3 {
		u.must("nodes", "create", "-m", fmt.Sprint(3-n), env)
	}
	lost := u.nodes(env)[0].Name
	docker(t, "exec", lost, "docker", "swarm", "leave", "--force")
	eventually(t, time.Minute, "a worker is added", func() error {
		if r := u.run("nodes", "create", "-w", "1", env); r.code != 0 {
			return errors.New(r.errs)
		}
		return nil
	})
	all := u.nodes(env)
	if u.swarmed(env) != len(all) {
		t.Errorf("not all are ready: %+v", all)
	}
	ids := map[string]bool{}
	for _, n := range all {
		if n.Role == "manager" {
			ids[docker(t, "exec", n.Name, "docker", "info", "--format", "{{.Swarm.Cluster.ID}}")] = true
		}
	}
	if len(ids) != 1 {
		t.Errorf("the managers are in %d swarms: %v", len(ids), ids)
	}
}

func managersGone(t *testing.T, u *user, env string) {
	for _, n := range u.nodes(env) {
		if n.Role == "manager" {
			docker(t, "rm", "-f", "-v", n.Name)
			docker(t, "volume", "rm", "skep-"+n.Name)
		}
	}
	u.refused(1, []string{"swarm whose managers are gone", "nodes rm"}, "nodes", "create", "-m", "1", env)
	u.refused(1, []string{"no manager left"}, "nodes", "start", env)
}

// Volumes of an earlier life are nobody's to take or to remove by the way.
func TestOldVolumeRefused(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	env := u.environment("volume")
	u.must("nodes", "create", "-m", "1", env)
	docker(t, "rm", "-f", env+"-manager-1")
	u.refused(1, []string{"skep-" + env + "-manager-1", "nodes rm"}, "nodes", "create", "-m", "1", env)
	docker(t, "volume", "inspect", "skep-"+env+"-manager-1")
}

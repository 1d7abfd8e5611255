package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

const crateImage = "skep-test/crate:5.10" // the stand-in

// The stand-in refuses what the real server would, so that a cluster of it
// shows that settings and order are right; it stores nothing.
func TestCrate(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	env := u.environment("crate")
	u.must("nodes", "create", env)
	// Local nodes share this computer's kernel, which is to be after the test what
	// it was before.
	const setting = "/proc/sys/vm/max_map_count"
	before, err := os.ReadFile(setting)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		docker(t, "exec", env+"-manager-1", "sh", "-c", "echo "+strings.TrimSpace(string(before))+" >"+setting)
	})
	create := []string{"crate", "create", "--image", crateImage, env}
	u.must(create...)
	green := func(servers int) {
		t.Helper()
		took := eventually(t, 2*time.Minute, "crate whole", func() error {
			r := u.run("crate", "status", env)
			if r.code != 0 || strings.Count(r.out, "crate@") != servers || !strings.Contains(r.out, "GREEN") {
				return fmt.Errorf("exit %d: %s%s", r.code, r.out, r.errs)
			}
			return nil
		})
		t.Logf("%d servers after %s", servers, took)
	}
	green(3)
	for _, n := range u.nodes(env) {
		if got := docker(t, "exec", n.Name, "cat", "/etc/sysctl.d/90-skep-vm-max_map_count.conf"); got != "vm.max_map_count = 262144" {
			t.Errorf("%s keeps %q", n.Name, got)
		}
	}
	ui := "http://" + strings.Fields(u.must("crate", "open", env).out)[0]
	if text, err := page(ui); err != nil || !strings.Contains(text, `"cluster_name":"skep"`) {
		t.Errorf("the UI: %q, %v", text, err)
	}
	if r := u.must(create...); strings.Contains(r.errs, "updated") || strings.Contains(r.errs, "raised") {
		t.Errorf("create again did something: %s", r.errs)
	}

	// Servers that come back do so with the cluster that they know.
	worker := env + "-worker-1"
	docker(t, "exec", worker, "sh", "-c", "docker kill $(docker ps -qf label=com.docker.swarm.service.name=crate)")
	green(3)
	docker(t, "stop", "-t", "30", worker)
	docker(t, "start", worker)
	green(3)

	// Another node is another server, which all expect from then on.
	u.must("nodes", "create", "-w", "1", env)
	if r := u.must(create...); !strings.Contains(r.errs, "service crate updated") {
		t.Errorf("with another node: %s", r.errs)
	}
	green(4)
	u.must("crate", "rm", "--volumes", "-f", env)
}

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// startLaptop starts a container with an engine of its own, the node image and
// skep on it. Its first process starts the engine again whenever that ends, as
// an init system does.
func startLaptop(t *testing.T, version string) string {
	t.Helper()
	const name = "skep-test-laptop"
	remove := func() {
		_, _ = output("docker", "rm", "-f", "-v", name)
		_, _ = output("docker", "volume", "rm", "-f", name)
	}
	remove()
	t.Cleanup(remove)
	const engine = `mount --make-rshared /
parent=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)/engine
while :; do rm -f /run/docker.pid; dockerd --cgroup-parent "$parent" >>/var/log/dockerd.log 2>&1; sleep 1; done`
	docker(t, "run", "-d", "--name", name, "--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE",
		"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined",
		"--device-cgroup-rule", "a *:* rwm", "--cgroupns", "host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw",
		"-v", "/lib/modules:/lib/modules:ro", "--tmpfs", "/run", "-v", name+":/var/lib/docker",
		"--entrypoint", "/bin/sh", "skep-node:"+version, "-c", engine)
	eventually(t, time.Minute, "an engine in a container", func() error {
		_, err := output("docker", "exec", name, "docker", "info")
		return err
	})
	if _, err := output("sh", "-c", "docker save skep-node:"+version+" | docker exec -i "+name+" docker load"); err != nil {
		t.Fatal(err)
	}
	docker(t, "cp", binary(), name+":/usr/local/bin/skep")
	return name
}

func output(command string, args ...string) (string, error) {
	out, err := exec.CommandContext(context.Background(), command, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", command, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), err
}

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Killed at any moment, create leaves what a second one completes to the same
// nodes, and what rm removes whole.
func TestKilledCreate(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	env := u.environment("killed")
	// How long an undisturbed one takes says which moments there are.
	whole := u.must("nodes", "create", env).took
	u.must("nodes", "rm", "-f", env)

	const wanted, most = 12, 30
	kills := 0
	for round := 0; kills < wanted; round++ {
		if round == most {
			t.Fatalf("only %d of %d creates were caught at work", kills, most)
		}
		// A moment at random in each twelfth of the run.
		moment := time.Duration((float64(kills) + rand.Float64()) / wanted * float64(whole))
		t.Run(fmt.Sprintf("after %s", moment.Round(time.Millisecond)), func(t *testing.T) {
			if took, killed := kill(t, u, moment, "nodes", "create", env); !killed {
				whole = min(whole, took)
				u.must("nodes", "rm", "-f", env)
				return
			}
			kills++
			if kills%3 == 0 {
				u.must("nodes", "rm", "-f", env)
				u.nothingLeft(env)
				return
			}
			again := []string{"nodes", "create", env}
			// Asked for by number the same are meant too, unless nothing was
			// left to do: then it would be as many more.
			if kills%3 == 1 && !complete(env) {
				again = []string{"nodes", "create", "-m", "1", "-w", "2", env}
			}
			u.must(again...)
			u.wantNodes(env, "manager-1", "worker-1", "worker-2")
			u.must("nodes", "rm", "-f", env)
			u.nothingLeft(env)
		})
	}
}

// complete says whether the killed create had done everything.
func complete(env string) bool {
	out, err := output("docker", "exec", env+"-manager-1", "docker", "node", "ls", "-q", "--filter", "node.label=skep.driver")
	return err == nil && len(strings.Fields(out)) == 3
}

// kill runs skep and kills it after a while, unless it ends before.
func kill(t *testing.T, u *user, after time.Duration, args ...string) (took time.Duration, killed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), after)
	defer cancel()
	begin := time.Now()
	out, err := u.command(ctx, args...).CombinedOutput()
	took = time.Since(begin)
	t.Logf("ended after %s: %v\n%s", took, err, out)
	return took, err != nil
}

// Ctrl-C takes back what was made and tells by the exit code.
func TestInterrupt(t *testing.T) {
	u := newUser(t)
	env := u.environment("interrupt")
	c := u.command(context.Background(), "nodes", "create", env)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "a node is there", func() error {
		if docker(t, "ps", "-q", "--filter", "label=skep.env="+env) == "" {
			return errors.New("none yet")
		}
		return nil
	})
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := c.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("interrupted create: %v, want exit code 130", err)
	}
	u.nothingLeft(env)
}

// An image that does not exist, a kernel that lacks what overlays need, a
// container in the way: one line each and nothing left.
func TestCreateRefused(t *testing.T) {
	u := newUser(t)
	env := u.environment("refused")

	u.refused(1, []string{"skep-test/nowhere:1"}, "nodes", "create", "--image", "skep-test/nowhere:1", env)
	u.nothingLeft(env)

	// A node whose kernel has no VXLAN: ip refuses as it does there.
	image := lackingImage(t)
	u.refused(1, []string{"VXLAN"}, "nodes", "create", "--image", image, env)
	u.nothingLeft(env)

	name := env + "-worker-2"
	docker(t, "create", "--name", name, helloImage)
	t.Cleanup(func() { docker(t, "rm", "-f", name) })
	u.refused(1, []string{name, "not skep's"}, "nodes", "create", env)
	u.nothingLeft(env)
	if docker(t, "ps", "-a", "-q", "--filter", "name="+name) == "" {
		t.Error("a container that is not skep's was removed")
	}
}

// lackingImage is the node image with an ip command that knows no vxlan.
func lackingImage(t *testing.T) string {
	t.Helper()
	const image = "skep-test/no-vxlan:1"
	version := strings.TrimSpace(newUser(t).must("version").out)
	id := docker(t, "create", "--entrypoint", "/bin/sh", "skep-node:"+version, "-c",
		`mv /usr/sbin/ip /usr/sbin/ip.real && printf '#!/bin/sh\ncase "$*" in *vxlan*) echo "RTNETLINK answers: Operation not supported" >&2; exit 2;; esac\nexec /usr/sbin/ip.real "$@"\n' >/usr/sbin/ip && chmod 755 /usr/sbin/ip`)
	t.Cleanup(func() {
		docker(t, "rm", "-f", "-v", id)
		docker(t, "rmi", "-f", image)
	})
	docker(t, "start", "-a", id)
	docker(t, "commit", "--change", `ENTRYPOINT ["/usr/local/bin/skep-node"]`, id, image)
	return image
}

// What cannot be deployed is refused in one line and changes nothing.
func TestDeployRefused(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	env := u.environment("deploy")
	u.refused(1, []string{env, "nodes create"}, "rqlite", "create", env)
	u.must("nodes", "create", "-m", "1", env)

	u.refused(1, []string{"skep-test/nowhere:1"}, "app", "deploy", "hello", "skep-test/nowhere:1", env)
	u.refused(1, []string{"nonet"}, "app", "deploy", "-n", "nonet", "hello", helloImage, env)
	u.refused(2, []string{"IPVS"}, "app", "deploy", "-p", "8000", "-r", "2", "hello", helloImage, env)
	if left := services(t, env); left != "" {
		t.Errorf("services after refused deploys: %s", left)
	}
	// One that ends at once, with its own last words.
	u.refused(1, []string{"hello", "does not come up"}, "app", "deploy", "-e", "ADDR=nonsense", "hello", helloImage, env)
	// A local port in use, when it was asked for by number.
	u.must("app", "deploy", "-t", "9090", "-e", "ADDR=:9090", "hello", helloImage, env)
	taken := strings.TrimPrefix(u.open(env, "hello:9090"), "localhost:")
	u.must("tunnel", "close", env)
	listener := listen(t, taken)
	u.refused(1, []string{taken, "in use"}, "tunnel", "open", "--port", taken, env, "hello:9090")
	// Not asked for by number, it moves on.
	if now := u.open(env, "hello:9090"); now == "localhost:"+taken {
		t.Errorf("tunnel at %s, which is taken", now)
	}
	_ = listener.Close()
	// A name that is a database's is not an app's.
	u.must("rqlite", "create", env)
	u.refused(1, []string{"rqlite"}, "app", "deploy", "rqlite", helloImage, env)
	u.refused(1, []string{"nothing"}, "tunnel", "open", env, "nothing:80")
}

func services(t *testing.T, env string) string {
	t.Helper()
	return docker(t, "exec", env+"-manager-1", "docker", "service", "ls", "-q")
}

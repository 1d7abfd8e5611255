package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skep/testdata/cloud/hosts"

	"golang.org/x/crypto/ssh"
)

// fleet is hosts that exist, with addresses of both kinds, and a user who may
// log in to them.
type fleet struct {
	*user
	maker     *hosts.Maker
	image     string
	addresses []string // IPv4, by host
	v6        []string
}

// newFleet boots n hosts on a network of their own. They have the hostnames of
// the nodes that they become already: a container's own is back after a restart.
func newFleet(t *testing.T, env string, n int) *fleet {
	t.Helper()
	u := newUser(t)
	f := &fleet{user: u, image: nodeImage(u)}
	var err error
	if f.maker, err = hosts.Open(env, f.image); err != nil {
		t.Fatal(err)
	}
	tidy := func() {
		if err := f.maker.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	tidy() // what a run that was killed left
	t.Cleanup(tidy)
	f.network()
	public := f.key()
	var known strings.Builder
	for i := range n {
		name := env + "-manager-1"
		if i > 0 {
			name = fmt.Sprintf("%s-worker-%d", env, i)
		}
		address, err := f.maker.Make(t.Context(), hosts.Host{
			Name: name, ID: fmt.Sprintf("host-%d", i), PublicKey: public, Files: map[string]string{"/usr/local/bin/docker-init": supervised},
		})
		if err != nil {
			t.Fatal(err)
		}
		f.addresses = append(f.addresses, address)
		f.v6 = append(f.v6, docker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}", f.container(i)))
	}
	for i, address := range f.addresses {
		eventually(t, time.Minute, "it boots", func() error {
			key, err := output("docker", "exec", f.container(i), "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
			if err == nil {
				fmt.Fprintf(&known, "%s %s\n", address, key)
				_, err = output("docker", "exec", f.container(i), "docker", "version")
			}
			return err
		})
	}
	if err := os.WriteFile(filepath.Join(u.home, ".ssh", "known_hosts"), []byte(known.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// supervised starts Docker again when it ends, in place of ending the host.
const supervised = `#!/bin/sh
[ "$1" = -- ] || exec /usr/bin/docker-init "$@"
shift
trap 'kill $pid; wait $pid; exit' TERM
while :; do
	"$@" &
	pid=$!
	wait $pid
done
`

// nodeImage is the one that belongs to this skep.
func nodeImage(u *user) string { return "skep-node:" + strings.TrimSpace(u.must("version").out) }

// network makes the maker's network before it does, with IPv6.
func (f *fleet) network() {
	f.t.Helper()
	name := "skep-cloud-" + f.maker.ID
	var err error
	for n := 255; n > 200; n-- {
		if _, err = output("docker", "network", "create", "--label", hosts.Label+"="+f.maker.ID, "--ipv6",
			"--subnet", fmt.Sprintf("10.203.%d.0/24", n), "--subnet", fmt.Sprintf("fd00:203:%d::/64", n), name); err == nil {
			return
		}
	}
	f.t.Fatal(err)
}

// key makes the user's own key and returns its public half.
func (f *fleet) key() string {
	f.t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		f.t.Fatal(err)
	}
	of, err := ssh.NewPublicKey(public)
	if err != nil {
		f.t.Fatal(err)
	}
	folder := filepath.Join(f.home, ".ssh")
	if err := os.Mkdir(folder, 0o700); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "id_ed25519"), pem.EncodeToMemory(block), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.env = append(f.env, "HOME="+f.home)
	return string(ssh.MarshalAuthorizedKey(of))
}

func (f *fleet) container(i int) string { return f.maker.Container(fmt.Sprintf("host-%d", i)) }

// on runs a shell command on a host.
func (f *fleet) on(i int, command string) string {
	f.t.Helper()
	return docker(f.t, "exec", f.container(i), "sh", "-c", command)
}

// create makes nodes of hosts, with more arguments before the environment.
func (f *fleet) create(env string, which []int, more ...string) result {
	f.t.Helper()
	args := append([]string{"nodes", "create", "-d", "ssh"}, more...)
	for _, i := range which {
		args = append(args, "--host", "root@"+f.addresses[i])
	}
	return f.run(append(args, env)...)
}

// stranger runs a script in a container on the hosts' network that is none of
// them, and returns what it printed.
func (f *fleet) stranger(script string) string {
	f.t.Helper()
	return docker(f.t, "run", "--rm", "--network", "skep-cloud-"+f.maker.ID, "--entrypoint", "bash", f.image, "-c", script)
}

// restartDocker ends a host's engine and returns when another one serves.
func (f *fleet) restartDocker(i int) {
	f.t.Helper()
	old := f.on(i, "cat /run/docker.pid")
	f.on(i, "kill "+old)
	eventually(f.t, time.Minute, "Docker is back", func() error {
		now, err := output("docker", "exec", f.container(i), "sh", "-c", "docker version >/dev/null && cat /run/docker.pid")
		if err == nil && now == old {
			err = fmt.Errorf("it is still process %s", old)
		}
		return err
	})
}

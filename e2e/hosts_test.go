package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skep/testdata/cloud/hosts"
)

// estate is a few hosts that were there before, and the user that they let in.
type estate struct {
	*user
	maker   *hosts.Maker
	address map[string]string // by name
}

// own gives a user hosts: their key is in its home, as OpenSSH would have it.
func own(t *testing.T, name string) *estate {
	t.Helper()
	version, err := output(binary(), "version")
	if err != nil {
		t.Fatal(err)
	}
	maker, err := hosts.Open(envPrefix+name, "skep-node:"+strings.TrimSpace(version))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := maker.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	e := &estate{user: newUser(t), maker: maker, address: map[string]string{}}
	e.env = []string{"HOME=" + e.home, "SSH_AUTH_SOCK="}
	if err := os.Mkdir(e.home+"/.ssh", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", e.home+"/.ssh/id_ed25519"); err != nil {
		t.Fatal(err)
	}
	return e
}

// boot makes a host, and waits until it serves Docker.
func (e *estate) boot(h hosts.Host) {
	e.t.Helper()
	public, err := os.ReadFile(e.home + "/.ssh/id_ed25519.pub")
	if err != nil {
		e.t.Fatal(err)
	}
	h.PublicKey = string(public)
	address, err := e.maker.Make(e.t.Context(), h)
	if err != nil {
		e.t.Fatal(err)
	}
	e.address[h.Name] = address
	eventually(e.t, time.Minute, h.Name+" boots", func() error {
		_, err := output("docker", "exec", e.maker.Container(h.Name), "sh", "-c", "docker version >/dev/null 2>&1 || docker.away version >/dev/null")
		return err
	})
}

// know puts the host's key into the user's known hosts.
func (e *estate) know(name, port string) {
	e.t.Helper()
	key := e.in(name, "cat /etc/ssh/ssh_host_ed25519_key.pub")
	file, err := os.OpenFile(e.home+"/.ssh/known_hosts", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	at := e.address[name]
	if port != "22" {
		at = "[" + at + "]:" + port
	}
	_, err = fmt.Fprintf(file, "%s %s\n", at, key)
	if err := file.Close(); err != nil {
		e.t.Fatal(err)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// in runs a command on a host, past its sshd.
func (e *estate) in(name, command string) string {
	e.t.Helper()
	return docker(e.t, "exec", e.maker.Container(name), "sh", "-c", command)
}

// asBefore checks that a host has nothing of skep's.
func (e *estate) asBefore(names ...string) {
	e.t.Helper()
	for _, name := range names {
		found := e.in(name, `uname -n; docker info -f '{{.Swarm.LocalNodeState}}'; docker ps -aq; docker volume ls -q; ls /etc/skep 2>/dev/null; grep skep /etc/hosts; docker network ls --format '{{.Name}}' | grep -c gwbridge; true`)
		if want := name + "\ninactive\n0"; found != want {
			e.t.Errorf("%s is not as it was: %q, want %q", name, found, want)
		}
	}
}

// program builds one of testdata into the folder, statically.
func program(t *testing.T, name, folder string) string {
	t.Helper()
	path := filepath.Join(folder, name)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../testdata/"+name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v: %s", name, err, out)
	}
	return path
}

// deployHost lets in a user who is not root, at another port, and whom sudo asks
// for a password until /etc/sudoers.d is there.
func deployHost(t *testing.T, name string) hosts.Host {
	t.Helper()
	sudo, err := os.ReadFile(program(t, "sudo", t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	return hosts.Host{Name: name, Files: map[string]string{"/usr/local/bin/sudo": string(sudo)}, Beside: `
rm -rf /etc/sudoers.d; chmod 4755 /usr/local/bin/sudo
useradd -m -p '*' deploy; mkdir -p -m 700 /home/deploy/.ssh
cp /root/.ssh/authorized_keys /home/deploy/.ssh/; chown -R deploy: /home/deploy
until [ -f /etc/ssh/ssh_host_ed25519_key.pub ] && [ -d /run/sshd ]; do sleep 0.1; done
` + deploySSH}
}

// deploySSH starts the sshd that lets deploy in.
const deploySSH = "/usr/sbin/sshd -f /etc/ssh/skep_sshd_config -p 2222 -o AllowUsers=deploy"

// stocked gives a user docker-machine, with machines of the same network.
func (e *estate) stocked() {
	e.t.Helper()
	bin := e.home + "/bin"
	program(e.t, "docker-machine", bin)
	e.env = append(e.env, "PATH="+bin+":"+os.Getenv("PATH"), "MACHINE_STORAGE_PATH="+e.home+"/machine",
		"MACHINE_TEST_CLOUD="+e.maker.ID, "MACHINE_TEST_IMAGE="+e.maker.Image)
}

// machines is what docker-machine has.
func (e *estate) machines() []string {
	e.t.Helper()
	entries, err := os.ReadDir(e.home + "/machine/machines")
	if err != nil && !os.IsNotExist(err) {
		e.t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

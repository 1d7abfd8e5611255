package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"skep/testdata/cloud/api"
	"skep/testdata/cloud/hosts"
)

// contract is one driver as the suite below needs it.
type contract struct {
	u      *user
	driver string            // as listed
	create []string          // words of `nodes create` for one manager and one worker
	again  []string          // the same once more; nil is create
	grow   []string          // one more worker
	wrong  []string          // what it cannot make
	says   []string          // and how it says so
	code   int               // with this exit code
	lends  bool              // its machines are not skep's to stop
	has    bool              // its story is told elsewhere
	left   func()            // fails where the provider has anything left
	gone   func(node string) // fails where it has that one; nil looks at the list alone
}

// All drivers keep the same promises.
func TestDrivers(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) contract{
		"docker": ofDocker, "ssh": ofHosts, "docker-machine": ofDockerMachine, "digitalocean": ofDigitalOcean,
	} {
		t.Run(name, func(t *testing.T) { conforms(t, name, open(t)) })
	}
}

func ofDocker(t *testing.T) contract {
	return contract{
		u: newUser(t), driver: "docker", create: []string{"-m", "1", "-w", "1"}, again: []string{}, grow: []string{"-w", "1"},
		wrong: []string{"--size", "large"}, says: []string{"--size"}, code: 2, has: true, left: func() {},
	}
}

func ofDigitalOcean(t *testing.T) contract {
	cloud := rent(t, "conform", true, api.Faults{Boot: 1, Lag: 1})
	return contract{
		u: cloud.user(), driver: "digitalocean", create: []string{"-d", "digitalocean", "--yes", "--region", "ams3", "-m", "1", "-w", "1"}, again: []string{"--yes"},
		grow: []string{"-d", "digitalocean", "--yes", "--region", "ams3", "-w", "1"}, has: true,
		wrong: []string{"-d", "digitalocean", "--yes", "--region", "atlantis1"}, says: []string{"atlantis1"}, code: 1, left: cloud.empty,
	}
}

func ofDockerMachine(t *testing.T) contract {
	e := own(t, "machine")
	e.stocked()
	return contract{
		u: e.user, driver: "google", again: []string{}, grow: []string{"-d", "google", "-w", "1"},
		create: []string{"-d", "google", "--driver-opt", "google-project=test", "--region", "europe-west1-b", "-m", "1", "-w", "1"},
		wrong:  []string{"-d", "google", "--driver-opt", "google-projekt=test"}, says: []string{"google-projekt", "--help"}, code: 2,
		gone: func(node string) {
			if left := e.machines(); slices.Contains(left, node) {
				t.Errorf("docker-machine still has %v", left)
			}
		},
		left: func() {
			if left := e.machines(); len(left) > 0 {
				t.Errorf("left with docker-machine: %v", left)
			}
			if left := docker(t, "ps", "-aq", "--filter", "label="+hosts.Label+"="+e.maker.ID); left != "" {
				t.Errorf("left at the provider: %s", left)
			}
		},
	}
}

func ofHosts(t *testing.T) contract {
	e := own(t, "ssh")
	e.boot(hosts.Host{Name: "pear"})
	e.boot(deployHost(t, "plum"))
	e.boot(hosts.Host{Name: "fig"})
	e.know("pear", "22")
	e.know("plum", "2222")
	e.in("plum", "mkdir /etc/sudoers.d")
	// The third one is known by a name of the user's own.
	config := fmt.Sprintf("Host third\n  HostName %s\n  User root\n  HostKeyAlias fig.test\n", e.address["fig"])
	if err := os.WriteFile(e.home+"/.ssh/config", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	known := e.address["fig"]
	e.address["fig"] = "fig.test"
	e.know("fig", "22")
	e.address["fig"] = known
	two := []string{"-d", "ssh", "--host", "root@" + e.address["pear"], "--host", "deploy@" + e.address["plum"] + ":2222"}
	return contract{
		u: e.user, driver: "ssh", create: two, grow: []string{"-d", "ssh", "--host", "third"}, lends: true,
		wrong: []string{"-d", "ssh", "--host", "root@" + e.address["pear"], "--host", "third", "--host", "root@third"}, says: []string{"same machine"}, code: 1,
		left: func() {
			e.asBefore("pear", "plum", "fig")
			if _, err := os.Stat(e.home + "/c/skep/hosts/" + envPrefix + "drv-ssh.json"); err == nil {
				t.Error("the list of hosts is left")
			}
		},
		gone: func(string) { e.asBefore("fig") },
	}
}

func conforms(t *testing.T, name string, c contract) {
	u := c.u
	env := u.environment("drv-" + name)
	create := func(words []string) []string { return append(append([]string{"nodes", "create"}, words...), env) }

	u.refused(c.code, c.says, create(c.wrong)...)
	c.left()

	u.must(create(c.create)...)
	u.wantNodes(env, "manager-1", "worker-1")
	for i, n := range u.nodes(env) {
		role := []string{"manager", "worker"}[i]
		if n.Env != env || n.Driver != c.driver || n.Role != role || n.Address == "" || n.Engine == "" || n.Leader != (i == 0) {
			t.Errorf("listed as %+v", n)
		}
	}
	again := c.again
	if again == nil {
		again = c.create
	}
	if r := u.must(create(again)...); !strings.Contains(r.errs, "complete already") {
		t.Errorf("create again did something: %s", r.errs)
	}

	if c.lends {
		u.refused(1, []string{"not skep's to stop"}, "nodes", "stop", env)
	} else {
		u.must("nodes", "stop", env)
		for _, n := range u.nodes(env) {
			if n.Status != "stopped" {
				t.Errorf("%s is %s after stop", n.Name, n.Status)
			}
		}
	}
	u.must("nodes", "start", env)
	u.wantNodes(env, "manager-1", "worker-1")

	if !c.has {
		tellStory(t, u, env)
	}

	u.must(create(c.grow)...)
	u.wantNodes(env, "manager-1", "worker-1", "worker-2")
	u.must("nodes", "rm", "--yes-lose-data", env, env+"-worker-2")
	u.wantNodes(env, "manager-1", "worker-1")
	if c.gone != nil {
		c.gone(env + "-worker-2")
	}

	u.must("nodes", "rm", "-f", env)
	c.left()
	u.nothingLeft(env)
	u.must("nodes", "rm", "-f", env)
}

// tellStory has a database and an app that reads from it.
func tellStory(t *testing.T, u *user, env string) {
	u.must("rqlite", "create", env)
	u.whole("rqlite", env, 2)
	db := rqlite{t, "http://" + u.open(env, "rqlite:4001")}
	db.execute("CREATE TABLE hello (text TEXT)")
	db.execute("INSERT INTO hello VALUES ('from the database')")
	u.must("app", "deploy", "-t", "9090", "-r", "2", "-e", "RQLITE_URL=http://tasks.rqlite:4001", "hello", helloImage, env)
	hello := "http://" + u.open(env, "hello:9090")
	eventually(t, time.Minute, "the app reads the database", func() error { return says(hello+"/bar", `Hello, "/bar"`, "from the database") })
}

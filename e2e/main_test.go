package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Every environment of the tests has a name that starts so, and none of a user.
const envPrefix = "e2e-"

// Images that testdata/images.sh makes.
const (
	rqliteImage  = "rqlite/rqlite:8.43.4"
	rethinkImage = "skep-test/rethinkdb:2.4" // the stand-in
	helloImage   = "hello:0.1"
)

func TestMain(m *testing.M) {
	ownAccount()
	// What a test run that was killed left behind must not disturb this one.
	if err := sweep(); err != nil {
		fmt.Fprintln(os.Stderr, "clear up before the tests:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := sweep(); err != nil {
		fmt.Fprintln(os.Stderr, "clear up after the tests:", err)
		code = 1
	}
	os.Exit(code)
}

func binary() string {
	path, err := filepath.Abs("../bin/skep")
	if err != nil {
		panic(err)
	}
	return path
}

// sweep removes all environments of tests.
func sweep() error {
	out, err := output("docker", "ps", "-a", "--filter", "label=skep.env", "--format", `{{.Label "skep.env"}}`)
	if err != nil {
		return err
	}
	networks, err := output("docker", "network", "ls", "--filter", "label=skep.env", "--format", `{{.Label "skep.env"}}`)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	var errs []error
	for env := range strings.FieldsSeq(out + "\n" + networks) {
		if strings.HasPrefix(env, envPrefix) && !seen[env] {
			seen[env] = true
			_, err := output(binary(), "nodes", "rm", "-f", env)
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, sweepHosts())...)
}

// user is somebody with a home of their own who runs skep.
type user struct {
	t    *testing.T
	home string
	env  []string // variables beyond the home's
}

func newUser(t *testing.T) *user {
	t.Helper()
	// Short, for the paths of unix sockets are.
	home, err := os.MkdirTemp("/tmp", "skep")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	return &user{t: t, home: home}
}

// environment names an environment of the test and removes it in the end.
func (u *user) environment(name string) string {
	env := envPrefix + name
	u.t.Cleanup(func() {
		if u.t.Failed() {
			u.t.Log(stateOf(env))
		}
		u.run("nodes", "rm", "-f", env)
		u.nothingLeft(env)
	})
	return env
}

// stateOf is what a swarm's managers say of its tasks, and the nodes of their
// containers.
func stateOf(env string) string {
	nodes, err := output("docker", "ps", "-a", "--filter", "label=skep.env="+env, "--format", "{{.Names}}")
	if err != nil {
		return err.Error()
	}
	text := "what is there of " + env + ":"
	for node := range strings.FieldsSeq(nodes) {
		const tell = "docker ps -a --no-trunc; docker service ls -q | xargs -r docker service ps --no-trunc"
		out, err := output("docker", "exec", node, "timeout", "20", "sh", "-c", tell)
		if err != nil {
			out = err.Error()
		}
		text += "\n" + node + ":\n" + out
	}
	return text
}

// result is what a command did.
type result struct {
	out, errs string
	code      int
	took      time.Duration
}

func (u *user) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, binary(), args...)
	c.Env = append(append(os.Environ(), "XDG_CONFIG_HOME="+u.home+"/c", "XDG_STATE_HOME="+u.home+"/s"), u.env...)
	return c
}

// limited is command for what has to end in time: where it hangs, it says where.
func (u *user) limited(ctx context.Context, args ...string) *exec.Cmd {
	c := u.command(ctx, args...)
	c.Cancel, c.WaitDelay = func() error { return c.Process.Signal(syscall.SIGQUIT) }, 10*time.Second
	return c
}

// run runs skep to its end, whatever that is.
func (u *user) run(args ...string) result {
	u.t.Helper()
	return u.feed("", args...)
}

// feed is run with something on standard input.
func (u *user) feed(stdin string, args ...string) result {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	c := u.limited(ctx, args...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &errs
	begin := time.Now()
	err := c.Run()
	r := result{out.String(), errs.String(), 0, time.Since(begin)}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		u.t.Fatalf("skep %s: %v", strings.Join(args, " "), err)
	}
	u.t.Logf("skep %s: exit %d after %.1fs\n%s%s", strings.Join(args, " "), r.code, r.took.Seconds(), r.out, r.errs)
	return r
}

// must is run for what has to succeed.
func (u *user) must(args ...string) result {
	u.t.Helper()
	r := u.run(args...)
	if r.code != 0 {
		u.t.Fatalf("skep %s: exit %d: %s", strings.Join(args, " "), r.code, r.errs)
	}
	return r
}

// refused is run for what has to fail with the code and one line that has all
// the words.
func (u *user) refused(code int, words []string, args ...string) {
	u.t.Helper()
	r := u.run(args...)
	if r.code != code {
		u.t.Errorf("skep %s: exit %d, want %d", strings.Join(args, " "), r.code, code)
	}
	var lines []string
	for line := range strings.Lines(r.errs) {
		if strings.HasPrefix(line, "skep: ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		u.t.Errorf("skep %s: want one line of error, got %q", strings.Join(args, " "), r.errs)
	}
	for _, w := range words {
		if !strings.Contains(strings.Join(lines, ""), w) {
			u.t.Errorf("skep %s: no %q in %q", strings.Join(args, " "), w, r.errs)
		}
	}
}

// node is a row of `nodes ls --json`.
type node struct {
	Env, Name, Role, Driver, Region, Address, Status, Swarm, Engine string
	PrivateAddress                                                  string `json:"private_address"`
	Leader                                                          bool
}

func (u *user) nodes(env string) []node {
	u.t.Helper()
	r := u.must("nodes", "ls", env, "--json")
	var all []node
	if err := json.Unmarshal([]byte(r.out), &all); err != nil {
		u.t.Fatalf("nodes ls --json: %v: %s", err, r.out)
	}
	return all
}

// wantNodes checks that exactly these nodes are there, running and Ready.
func (u *user) wantNodes(env string, names ...string) {
	u.t.Helper()
	var got []string
	for _, n := range u.nodes(env) {
		got = append(got, strings.TrimPrefix(n.Name, env+"-"))
		if n.Status != "running" || n.Swarm != "ready" {
			u.t.Errorf("%s is %s and %s in the swarm", n.Name, n.Status, n.Swarm)
		}
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		u.t.Errorf("nodes of %s: %v, want %v", env, got, names)
	}
}

// nothingLeft checks that the engine and the home have nothing of the
// environment any more.
func (u *user) nothingLeft(env string) {
	u.t.Helper()
	for _, kind := range []string{"ps -a -q", "volume ls -q", "network ls -q"} {
		for _, label := range []string{"skep.env", "skep.probe"} {
			if left := docker(u.t, append(strings.Fields(kind), "--filter", "label="+label+"="+env)...); left != "" {
				u.t.Errorf("left of %s: docker %s: %s", env, kind, left)
			}
		}
	}
	if left := docker(u.t, "volume", "ls", "-q", "--filter", "name=skep-"+env+"-"); left != "" {
		u.t.Errorf("volumes left of %s: %s", env, left)
	}
	for _, path := range []string{"s/skep/known_hosts/" + env, "s/skep/" + env + ".sock"} {
		if _, err := os.Stat(filepath.Join(u.home, path)); err == nil {
			u.t.Errorf("left of %s: %s", env, path)
		}
	}
}

// docker runs the docker CLI against the local engine.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := output("docker", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// eventually waits until a condition holds and says what was wrong if it
// never does.
func eventually(t *testing.T, limit time.Duration, what string, holds func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			return time.Since(begin)
		}
		if time.Since(begin) > limit {
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		<-tick.C
	}
}

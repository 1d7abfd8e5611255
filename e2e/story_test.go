package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The main job, by hand as the README tells it: from nothing to a database
// cluster behind a tunnel, through the loss of nodes, and back to nothing.
func TestStory(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	env := u.environment("story")

	u.must("nodes", "create", env)
	u.wantNodes(env, "manager-1", "worker-1", "worker-2")

	u.must("rqlite", "create", env)
	u.whole("rqlite", env, 3)
	u.must("rethink", "create", "--image", rethinkImage, env)
	u.whole("rethink", env, 4)

	db := rqlite{t, "http://" + u.open(env, "rqlite:4001")}
	db.execute("CREATE TABLE hello (text TEXT)")
	db.execute("INSERT INTO hello VALUES ('from the database')")

	deploy := []string{"app", "deploy", "-t", "9090", "-r", "6", "-e", "RQLITE_URL=http://tasks.rqlite:4001", "hello", helloImage, env}
	var app struct {
		Tunnels []struct {
			LocalPort int `json:"local_port"`
		}
	}
	if err := json.Unmarshal([]byte(u.must(append(deploy, "--json")...).out), &app); err != nil || len(app.Tunnels) != 1 {
		t.Fatalf("app deploy --json: %v, %+v", err, app)
	}
	hello := fmt.Sprintf("http://localhost:%d", app.Tunnels[0].LocalPort)
	eventually(t, time.Minute, "the app reads the database", func() error { return says(hello+"/bar", `Hello, "/bar"`, "from the database") })

	ui := "http://" + u.open(env, "rethink:8080")
	joined(t, ui, 4)

	t.Run("again", func(t *testing.T) { runAgain(t, u, env, deploy) })
	t.Run("killed worker", func(t *testing.T) { killedWorker(t, u, env, db, ui) })
	t.Run("stopped and started", func(t *testing.T) { stoppedAndStarted(t, u, env, db, hello, ui) })
	t.Run("grown and shrunk", func(t *testing.T) { grownAndShrunk(t, u, env, db) })
	t.Run("app changed", func(t *testing.T) { appChanged(t, u, env, hello) })
	t.Run("database recreated", func(t *testing.T) { databaseRecreated(t, u, env, db) })

	if r := u.feed("something else\n", "nodes", "rm", env); r.code != 1 {
		t.Errorf("rm went on although the name was not typed: exit %d", r.code)
	}
	u.wantNodes(env, "manager-1", "worker-1", "worker-2")
	if r := u.feed(env+"\n", "nodes", "rm", env); r.code != 0 {
		t.Errorf("rm: exit %d", r.code)
	}
	u.nothingLeft(env)
	if _, err := page(hello); err == nil {
		t.Error("a tunnel of the removed environment still answers")
	}
	if left := u.must("tunnel", "ls", "--json").out; strings.TrimSpace(left) != "[]" {
		t.Errorf("tunnels left: %s", left)
	}
	if r := u.run("nodes", "ls", env); r.code != 1 {
		t.Errorf("nodes ls of what is gone: exit %d, want 1", r.code)
	}
}

// open opens a tunnel and returns its local address.
func (u *user) open(env, target string) string {
	u.t.Helper()
	var all []struct {
		LocalPort int `json:"local_port"`
	}
	r := u.must("tunnel", "open", env, target, "--json")
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || len(all) != 1 {
		u.t.Fatalf("tunnel open --json: %v: %s", err, r.out)
	}
	return fmt.Sprintf("localhost:%d", all[0].LocalPort)
}

func says(address string, words ...string) error {
	text, err := page(address)
	for _, w := range words {
		if err == nil && !strings.Contains(text, w) {
			err = fmt.Errorf("no %q in %q", w, text)
		}
	}
	return err
}

// Every command that creates converges: what is right is not touched.
func runAgain(t *testing.T, u *user, env string, deploy []string) {
	if r := u.must("nodes", "create", env); !strings.Contains(r.errs, "complete already") {
		t.Errorf("nodes create again did something: %s", r.errs)
	}
	for _, again := range [][]string{{"rqlite", "create", env}, {"rethink", "create", "--image", rethinkImage, env}, deploy} {
		if r := u.must(again...); strings.Contains(r.errs, "created") || strings.Contains(r.errs, "updated") || strings.Contains(r.errs, "sending") {
			t.Errorf("skep %s again did something: %s", strings.Join(again, " "), r.errs)
		}
	}
	u.wantNodes(env, "manager-1", "worker-1", "worker-2")
}

// A node whose container is killed comes back with its database members.
func killedWorker(t *testing.T, u *user, env string, db rqlite, ui string) {
	worker := env + "-worker-1"
	docker(t, "kill", worker)
	db.wantValue("SELECT text FROM hello", `"from the database"`)
	eventually(t, time.Minute, "a write without the worker", func() error {
		_, err := db.post("/db/execute", "INSERT INTO hello VALUES ('while it was away')")
		return err
	})
	docker(t, "start", worker)
	eventually(t, time.Minute, "the worker is ready again", func() error {
		for _, n := range u.nodes(env) {
			if n.Swarm != "ready" || n.Status != "running" {
				return fmt.Errorf("%s is %s, %s", n.Name, n.Status, n.Swarm)
			}
		}
		return nil
	})
	t.Logf("rqlite whole after %s", u.whole("rqlite", env, 3))
	t.Logf("rethink whole after %s", u.whole("rethink", env, 4))
	joined(t, ui, 4)
	db.wantValue("SELECT count(*) FROM hello", "2")
}

func stoppedAndStarted(t *testing.T, u *user, env string, db rqlite, hello, ui string) {
	u.must("nodes", "stop", env)
	for _, n := range u.nodes(env) {
		if n.Status != "stopped" || n.Swarm != "unknown" {
			t.Errorf("%s is %s, %s after stop", n.Name, n.Status, n.Swarm)
		}
	}
	u.must("nodes", "start", env)
	u.wantNodes(env, "manager-1", "worker-1", "worker-2")
	u.whole("rqlite", env, 3)
	u.whole("rethink", env, 4)
	// The tunnels are the ones of before.
	db.wantValue("SELECT count(*) FROM hello", "2")
	eventually(t, time.Minute, "the app answers again", func() error { return says(hello+"/bar", "from the database") })
	joined(t, ui, 4)
}

// A node that is added gets what the services use; one that holds data goes
// only when that is said.
func grownAndShrunk(t *testing.T, u *user, env string, db rqlite) {
	u.must("nodes", "create", "-w", "1", env)
	u.wantNodes(env, "manager-1", "worker-1", "worker-2", "worker-3")
	u.whole("rqlite", env, 3) // an even number would be no better
	u.whole("rethink", env, 5)
	u.refused(1, []string{"worker-3", "--yes-lose-data"}, "nodes", "rm", env, env+"-worker-3")
	u.refused(2, []string{"without a manager"}, "nodes", "rm", "--yes-lose-data", env, env+"-manager-1")
	u.refused(1, []string{"worker-9"}, "nodes", "rm", env, env+"-worker-9")
	u.wantNodes(env, "manager-1", "worker-1", "worker-2", "worker-3")
	u.must("nodes", "rm", "--yes-lose-data", env, env+"-worker-3")
	u.wantNodes(env, "manager-1", "worker-1", "worker-2")
	// A member that is gone but counted would be a step towards no quorum.
	eventually(t, time.Minute, "three members", func() error {
		text, err := page(db.base + "/nodes?nonvoters")
		if n := strings.Count(text, `"id":`); err == nil && n != 3 {
			err = fmt.Errorf("%d members: %s", n, text)
		}
		return err
	})
}

func appChanged(t *testing.T, u *user, env, hello string) {
	u.must("app", "deploy", "-t", "9090", "-r", "2", "-e", "GREETING=Good day", "hello", helloImage, env)
	eventually(t, time.Minute, "the new version answers", func() error { return says(hello+"/bar", `Good day, "/bar"`) })
	// What is published answers from outside on the nodes themselves.
	r := u.must("app", "deploy", "-p", "9090", "-r", "3", "-e", "GREETING=Open", "hello", helloImage, env)
	addresses := strings.Fields(r.out)
	if len(addresses) != 3 {
		t.Fatalf("published at %q", r.out)
	}
	for _, a := range addresses {
		eventually(t, time.Minute, a, func() error { return says("http://"+a+"/bar", `Open, "/bar"`) })
	}
	u.must("app", "rm", "hello", env)
	if _, err := page("http://" + addresses[0] + "/bar"); err == nil {
		t.Error("the app answers after app rm")
	}
}

// Removed and created again, a database has its data.
func databaseRecreated(t *testing.T, u *user, env string, db rqlite) {
	u.must("rqlite", "rm", env)
	if s, code := u.status("rqlite", env); code != 1 || s.Ready || len(s.Servers) != 0 {
		t.Errorf("status of a removed database: exit %d, %+v", code, s)
	}
	u.must("rqlite", "create", env)
	u.whole("rqlite", env, 3)
	again := rqlite{t, "http://" + u.open(env, "rqlite:4001")}
	if again.base != db.base {
		t.Errorf("the tunnel is at %s now, was at %s", again.base, db.base)
	}
	again.wantValue("SELECT count(*) FROM hello", "2")
}

// Anybody else with the engine finds and removes what somebody made.
func TestAnotherComputer(t *testing.T) {
	t.Parallel()
	first, second := newUser(t), newUser(t)
	env := first.environment("other")
	first.must("nodes", "create", "-m", "1", env)
	first.wantNodes(env, "manager-1")
	second.wantNodes(env, "manager-1") // with another key and no known host
	if err := os.RemoveAll(first.home + "/s"); err != nil {
		t.Fatal(err)
	}
	first.wantNodes(env, "manager-1")
	second.must("nodes", "create", "-w", "1", env)
	first.wantNodes(env, "manager-1", "worker-1")
	second.must("nodes", "rm", "-f", env)
	second.nothingLeft(env)
	first.must("nodes", "rm", "-f", env) // again, and with pins of its own
}

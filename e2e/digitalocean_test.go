package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"skep/testdata/cloud/api"
)

// The whole story on droplets that are real hosts, in three regions and then a
// fourth, with a create that is killed at its beginning.
func TestDigitalOcean(t *testing.T) {
	t.Parallel()
	cloud := rent(t, "do", true, api.Faults{Boot: 1, Lag: 2})
	u := cloud.user()
	env := u.environment("do")
	cloud.watchArguments()
	create := []string{"nodes", "create", "-d", "digitalocean", "--yes", "-m", "1", "-w", "2", "--region", "ams3,sgp1,nyc3", env}

	ctx, kill := context.WithCancel(context.Background())
	first := u.command(ctx, create...)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "droplets are asked for", func() error {
		if made := cloud.State().Made; made < 3 {
			return fmt.Errorf("%d made", made)
		}
		return nil
	})
	kill()
	_ = first.Wait()
	if r := u.must(create...); !strings.Contains(r.errs, "$0.0") && !strings.Contains(r.errs, "is ready") {
		t.Errorf("neither a price nor an end: %s", r.errs)
	}
	u.wantNodes(env, "manager-1", "worker-1", "worker-2")
	if made := cloud.State().Made; made != 3 {
		t.Errorf("%d droplets made for three", made)
	}
	cloud.Forget()
	var rows []struct {
		Region, Size string
		HourlyUSD    float64 `json:"hourly_usd"`
	}
	if err := json.Unmarshal([]byte(u.must("nodes", "ls", env, "--json").out), &rows); err != nil {
		t.Fatal(err)
	}
	if calls := cloud.State().Calls; len(calls) != 1 || calls["GET /v2/droplets"] != 1 {
		t.Errorf("to list them took %v", calls)
	}
	for i, region := range []string{"ams3", "sgp1", "nyc3"} {
		if rows[i].Region != region || rows[i].Size != "s-1vcpu-1gb" || rows[i].HourlyUSD != 0.00893 {
			t.Errorf("%+v, want it in %s", rows[i], region)
		}
	}

	u.must("rqlite", "create", env)
	u.whole("rqlite", env, 3)
	db := rqlite{t, "http://" + u.open(env, "rqlite:4001")}
	db.execute("CREATE TABLE hello (text TEXT)")
	db.execute("INSERT INTO hello VALUES ('from a droplet')")
	var app struct {
		Tunnels []struct {
			LocalPort int `json:"local_port"`
		}
	}
	deployed := u.must("app", "deploy", "-t", "9090", "-r", "3", "-e", "RQLITE_URL=http://tasks.rqlite:4001", "hello", helloImage, env, "--json")
	if err := json.Unmarshal([]byte(deployed.out), &app); err != nil || len(app.Tunnels) != 1 {
		t.Fatalf("app deploy --json: %v, %+v", err, app)
	}
	hello := fmt.Sprintf("http://localhost:%d/bar", app.Tunnels[0].LocalPort)
	eventually(t, time.Minute, "the app reads the database", func() error { return says(hello, "from a droplet") })

	// Grown while everything goes wrong, and shrunk.
	cloud.Set(api.Faults{Boot: 1, Lag: 2, LateSSH: 20, CutCreates: 1, TooMany: 2, SlowGone: 3})
	u.must("nodes", "create", "-d", "digitalocean", "--yes", "-w", "1", "--region", "fra1", env)
	u.wantNodes(env, "manager-1", "worker-1", "worker-2", "worker-3")
	if r := u.must("nodes", "rm", "--yes-lose-data", env, env+"-worker-3"); !strings.Contains(r.errs, "no longer billed: $0.0089 an hour") {
		t.Errorf("it does not say what is no longer billed: %s", r.errs)
	}
	u.wantNodes(env, "manager-1", "worker-1", "worker-2")
	db.wantValue("SELECT text FROM hello", `"from a droplet"`)
	cloud.secret(u)
	// Another host key is another machine, for all that is known.
	u.must("nodes", "ssh", env, env+"-worker-2", "--", "rm /etc/ssh/ssh_host_ed25519_key* && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key && pkill -o -HUP sshd")
	eventually(t, 10*time.Second, "sshd has its new key", func() error {
		if r := u.run("nodes", "ssh", env, env+"-worker-2", "--", "true"); r.code != 1 || !strings.Contains(r.errs, "not the pinned one") {
			return fmt.Errorf("exit %d: %s", r.code, r.errs)
		}
		return nil
	})
	if r := u.must("nodes", "rm", "-f", env); !strings.Contains(r.errs, "no longer billed: $0.0268 an hour") {
		t.Errorf("it does not say what is no longer billed: %s", r.errs)
	}
	cloud.empty()
	if made := cloud.State().Made; made != 4 {
		t.Errorf("%d droplets made for four", made)
	}
}

// What cannot be is refused before anything is made, in the API's own words.
func TestDigitalOceanRefuses(t *testing.T) {
	t.Parallel()
	cloud := rent(t, "no", false, api.Faults{Limit: 2})
	u := cloud.user()
	env := u.environment("no")
	create := func(more ...string) []string {
		return slices.Concat([]string{"nodes", "create", "-d", "digitalocean"}, more, []string{env})
	}
	u.refused(1, []string{"exceed your droplet limit of 2"}, create("--yes")...)
	u.refused(1, []string{"no region mars1", "ams3, fra1, nyc3, sgp1"}, create("--yes", "-m", "1", "--region", "mars1")...)
	u.refused(1, []string{"s-4vcpu-8gb in ams3", "nyc3"}, create("--yes", "-m", "1", "--region", "ams3", "--size", "s-4vcpu-8gb")...)
	u.refused(1, []string{"no image ubuntu-4", "ubuntu-24-04-x64"}, create("--yes", "-m", "1", "--image", "ubuntu-4")...)
	u.refused(2, []string{"--yes"}, create("-m", "1")...)
	u.refused(2, []string{"no options"}, create("--yes", "-m", "1", "--driver-opt", "a=b")...)
	wrong := newUser(t)
	wrong.env = []string{"DIGITALOCEAN_ACCESS_TOKEN=" + cloud.token + "x", "DIGITALOCEAN_API_URL=" + cloud.url}
	wrong.refused(1, []string{"Unable to authenticate you (401)", "DIGITALOCEAN_ACCESS_TOKEN"}, create("--yes", "-m", "1")...)
	for _, one := range []*user{wrong, u} {
		if r := one.run("-v", "nodes", "ls"); strings.Contains(r.out+r.errs, cloud.token) {
			t.Error("the token is told")
		}
	}
	none := newUser(t)
	none.refused(1, []string{"no token of DigitalOcean", "DIGITALOCEAN_ACCESS_TOKEN"}, create("--yes", "-m", "1")...)
	none.must("nodes", "ls")
	cloud.empty()
	if made := cloud.State().Made; made > 0 {
		t.Errorf("%d droplets were made", made)
	}
}

// Killed at whatever moment of a create, skep leaves nothing that a removal
// does not find, from another computer and on lists that lag.
func TestDigitalOceanKilled(t *testing.T) {
	t.Parallel()
	var killing sync.WaitGroup
	for n := range 10 {
		name := fmt.Sprintf("kill%d", n)
		cloud := rent(t, name, false, api.Faults{Boot: 1, Lag: 2, SlowAdd: 0.5, SlowGone: 1})
		maker, remover := cloud.user(), cloud.user()
		env := maker.environment(name)
		killing.Go(func() {
			moment := rand.N(3 * time.Second)
			ctx, end := context.WithTimeout(context.Background(), moment)
			defer end()
			err := maker.command(ctx, "nodes", "create", "-d", "digitalocean", "--yes", "-m", "1", "-w", "5", "--region", "ams3,sgp1,nyc3", env).Run()
			if err == nil || ctx.Err() == nil {
				t.Errorf("%s was not killed: %v", env, err)
			}
			s := cloud.State()
			t.Logf("%s: killed after %s with %d droplets, %d tags, %d keys", env, moment, s.Made, len(s.Tags), len(s.Keys))
			if r := remover.run("nodes", "rm", "-f", env); r.code != 0 {
				t.Errorf("rm %s: exit %d", env, r.code)
			}
		})
		defer cloud.empty()
	}
	killing.Wait()
}

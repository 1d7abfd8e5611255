package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// clustered is one of several rqlite clusters of an environment, each of whose
// servers can be spoken to by itself.
type clustered struct {
	u         *user
	env, name string
}

func (c clustered) status() (status, error) {
	r := c.u.run("rqlite", "status", "--name", c.name, "--json", c.env)
	var s status
	err := json.Unmarshal([]byte(r.out), &s)
	if err == nil && (r.code != 0 || !s.Ready) {
		err = fmt.Errorf("exit %d, %+v", r.code, s)
	}
	return s, err
}

// whole waits for so many servers in their roles and returns them.
func (c clustered) whole(roles ...string) status {
	c.u.t.Helper()
	var s status
	took := eventually(c.u.t, 2*time.Minute, c.name+" whole", func() (err error) {
		if s, err = c.status(); err != nil {
			return err
		}
		var got []string
		for _, server := range s.Servers {
			got = append(got, server.Role)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != strings.Join(roles, " ") {
			err = fmt.Errorf("roles %v, want %v", got, roles)
		}
		return err
	})
	c.u.t.Logf("%s whole after %s", c.name, took)
	return s
}

// ask speaks HTTP to the one server on a node, from inside its container.
func (c clustered) ask(service, node, path string, statements ...string) (string, error) {
	body, err := json.Marshal(statements)
	if err != nil {
		return "", err
	}
	const script = `c=$(docker ps -qf label=com.docker.swarm.service.name=$0); [ -n "$c" ] && timeout 3 docker exec -i "$c" bash -c \
		'exec 3<>/dev/tcp/127.0.0.1/4001 && printf "POST %s HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" "$0" "${#1}" "$1" >&3 && cat <&3' "$1" "$2"`
	out, err := output("docker", "exec", node, "sh", "-c", script, service, path, string(body))
	if err == nil && (!strings.HasPrefix(out, "HTTP/1.0 200") || strings.Contains(out, `"error"`)) {
		err = errors.New(out)
	}
	return out, err
}

// write asks the servers in turn until one takes the statement: those of old do
// not pass it on to their leader.
func (c clustered) write(servers []server, statement string) error {
	var errs []error
	for _, s := range servers {
		_, err := c.ask(s.service(), s.Node, "/db/execute", statement)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s server) service() string {
	name, _, _ := strings.Cut(s.Name, "@")
	return name
}

// wantRows waits until the server itself, whoever leads, has so many rows.
func (c clustered) wantRows(s server, rows int) {
	c.u.t.Helper()
	eventually(c.u.t, time.Minute, fmt.Sprintf("%d rows on %s", rows, s.Node), func() error {
		out, err := c.ask(s.service(), s.Node, "/db/query?level=none", "SELECT count(*) FROM t")
		if err == nil && !strings.Contains(out, fmt.Sprintf("[[%d]]", rows)) {
			err = errors.New(out)
		}
		return err
	})
}

// In each of its ways servers find each other; a write through one is read
// through another, and the death of the leader is survived. All clusters are in
// one environment, and survive the stop of a node together.
func TestRqliteInAllWays(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	env := u.environment("ways")
	u.must("nodes", "create", env)
	three := []string{"leader", "voter", "voter"}
	var all []clustered
	for _, mode := range []string{"dns", "bootstrap", "dns-srv", "etcd", "consul", "service"} {
		c := clustered{u, env, "x" + strings.ReplaceAll(mode, "-", "")}
		all = append(all, c)
		t.Run(mode, func(t *testing.T) {
			c := clustered{&user{t: t, home: u.home}, env, c.name}
			c.u.must("rqlite", "create", "--name", c.name, "--discovery", mode, env)
			leaderKilled(t, c, c.whole(three...))
			c.whole(three...)
		})
	}
	if t.Failed() {
		return
	}
	t.Run("again", func(t *testing.T) {
		for _, c := range all {
			r := (&user{t: t, home: u.home}).must("rqlite", "create", "--name", c.name, env)
			for _, word := range []string{"created", "updated", "sending", "taken"} {
				if strings.Contains(r.errs, word) {
					t.Errorf("create again did something: %s", r.errs)
				}
			}
		}
	})
	t.Run("a node stopped and started", func(t *testing.T) {
		worker := env + "-worker-2"
		docker(t, "stop", "-t", "30", worker)
		for _, c := range all {
			eventually(t, time.Minute, "a write to "+c.name+" without a node", func() error {
				s, _ := c.status()
				return c.write(s.Servers, "INSERT INTO t VALUES (3)")
			})
		}
		docker(t, "start", worker)
		for _, c := range all {
			s := clustered{&user{t: t, home: u.home}, env, c.name}.whole(three...)
			for _, server := range s.Servers {
				if server.Node == worker {
					clustered{&user{t: t, home: u.home}, env, c.name}.wantRows(server, 3)
				}
			}
		}
	})
	t.Run("those that keep the keys", func(t *testing.T) {
		u := &user{t: t, home: u.home}
		for keeper, servers := range map[string]int{"etcd": 3, "consul": 1, "discovery": 1} {
			u.whole(keeper, env, servers)
			if r := u.must(keeper, "create", env); strings.Contains(r.errs, "created") || strings.Contains(r.errs, "updated") {
				t.Errorf("create again did something: %s", r.errs)
			}
		}
	})
	t.Run("backed up, restored and shrunk", func(t *testing.T) {
		shrunk(t, clustered{&user{t: t, home: u.home}, env, "xdns"})
	})
	t.Run("removed and created again, with its data", func(t *testing.T) {
		c := clustered{&user{t: t, home: u.home}, env, "xetcd"}
		c.u.must("rqlite", "rm", "--name", c.name, env)
		c.u.must("rqlite", "create", "--name", c.name, "--discovery", "etcd", env)
		for _, server := range c.whole(three...).Servers {
			c.wantRows(server, 3)
		}
	})
	t.Run("shrunk with a service each", func(t *testing.T) {
		c := clustered{&user{t: t, home: u.home}, env, "xbootstrap"}
		c.u.must("rqlite", "create", "--name", c.name, "-n", "1", env)
		s := c.whole("leader", "reader", "reader")
		for _, server := range s.Servers {
			c.wantRows(server, 3)
		}
	})
}

func leaderKilled(t *testing.T, c clustered, s status) {
	t.Helper()
	slices.SortFunc(s.Servers, func(a, b server) int { return strings.Compare(a.Role, b.Role) })
	leader, others := s.Servers[0], s.Servers[1:]
	if err := c.write(s.Servers, "CREATE TABLE t (x INTEGER)"); err != nil {
		t.Fatal(err)
	}
	if err := c.write(s.Servers, "INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	c.wantRows(others[0], 1)
	docker(t, "exec", leader.Node, "sh", "-c", "docker kill $(docker ps -qf label=com.docker.swarm.service.name="+leader.service()+")")
	took := eventually(t, time.Minute, "a write without the leader", func() error {
		return c.write(others, "INSERT INTO t VALUES (2)")
	})
	t.Logf("%s: write accepted %s after its leader was killed", c.name, took)
	if took > 5*time.Second {
		t.Errorf("%s: no write for %s after its leader was killed", c.name, took)
	}
	for _, s := range others {
		c.wantRows(s, 2)
	}
}

// A backup holds what the cluster had; with fewer voters the other nodes go on
// reading, and nobody is counted as lost.
func shrunk(t *testing.T, c clustered) {
	file := filepath.Join(t.TempDir(), "backup.sqlite")
	c.u.must("rqlite", "backup", "--name", c.name, c.env, file)
	s := c.whole("leader", "voter", "voter")
	if err := c.write(s.Servers, "INSERT INTO t VALUES (4)"); err != nil {
		t.Fatal(err)
	}
	if r := c.u.feed("something else\n", "rqlite", "restore", "--name", c.name, c.env, file); r.code != 1 {
		t.Errorf("restored although the name was not typed: exit %d", r.code)
	}
	c.u.refused(1, []string{"not what"}, "rqlite", "restore", "-f", "--name", "xservice", c.env, file)
	c.u.must("rqlite", "restore", "-f", "--name", c.name, c.env, file)
	for _, server := range s.Servers {
		c.wantRows(server, 3)
	}
	c.u.refused(2, []string{"5 voters on 3 nodes"}, "rqlite", "create", "--name", c.name, "-n", "5", c.env)
	c.u.refused(1, []string{"keeps to it"}, "rqlite", "create", "--name", c.name, "--discovery", "bootstrap", c.env)
	c.u.must("rqlite", "create", "--name", c.name, "-n", "1", c.env)
	s = c.whole("leader", "reader", "reader")
	if err := c.write(s.Servers, "INSERT INTO t VALUES (5)"); err != nil {
		t.Fatal(err)
	}
	for _, server := range s.Servers {
		c.wantRows(server, 4)
	}
	labelled := docker(t, "exec", c.env+"-manager-1", "docker", "node", "ls", "-q", "--filter", "node.label=skep.rqlite-"+c.name)
	if len(strings.Fields(labelled)) != 1 {
		t.Errorf("nodes with the voters' label: %s", labelled)
	}
	c.u.must("rqlite", "rm", "--volumes", "-f", "--name", c.name, c.env)
	if _, err := c.status(); err == nil {
		t.Error("a cluster that was removed is ready")
	}
}

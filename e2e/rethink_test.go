package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

func TestRethinkStaysWhole(t *testing.T) {
	u := newUser(t)
	c := &cluster{user: u, env: u.environment("rethink"), servers: 4}
	u.must("nodes", "create", c.env)
	u.must("rethink", "create", "--image", rethinkImage, c.env)
	c.heals("create")
	s, _ := c.status()
	var names []string
	for _, server := range s.Servers {
		names = append(names, server.Name)
	}
	under := strings.ReplaceAll(c.env, "-", "_")
	want := []string{"db0_" + under + "_manager_1", "db1_" + under + "_manager_1", "db1_" + under + "_worker_1", "db1_" + under + "_worker_2"}
	if !slices.Equal(names, want) {
		t.Errorf("servers are called %v, not %v", names, want)
	}
	if again := u.must("rethink", "create", "--image", rethinkImage, c.env); strings.Count(again.errs, "unchanged") != 3 {
		t.Errorf("a second create: %s", again.errs)
	}

	c.connect()
	c.do(r.DBCreate("shop"))
	c.do(r.DB("shop").TableCreate("orders"))
	plan := u.must("rethink", "ha", c.env).out
	if !strings.Contains(plan, "shop.orders") || strings.Contains(plan, "as they are") {
		t.Errorf("the plan: %s", plan)
	}
	if placed := u.must("rethink", "ha", "--apply", c.env, "shop.orders").out; !strings.Contains(placed, "as they are") {
		t.Errorf("what was placed: %s", placed)
	}
	if s, _ := c.status(); len(s.Tables) != 1 || s.Tables[0].Replicas != 3 || !s.Tables[0].Ready {
		t.Errorf("tables: %+v", s.Tables)
	}
	c.threeNodes("shop", "orders")
	if again := u.must("rethink", "ha", c.env).out; !strings.Contains(again, "as they are") {
		t.Errorf("planned again: %s", again)
	}

	orders := r.DB("shop").Table("orders")
	w := c.write(orders)
	page := c.probe(fmt.Sprintf("http://127.0.0.1:%d/", c.port("8080")), "RethinkDB")
	for _, misfortune := range []struct {
		name   string
		happen func()
		dark   bool // no server is there to answer for a time
	}{
		{"db0 was killed", func() { c.killTasks("db0") }, false},
		{"every task was killed", func() { c.killTasks("db") }, true},
		{"a node was stopped and started", func() {
			docker(t, "stop", "-t", "5", c.env+"-worker-2")
			docker(t, "start", c.env+"-worker-2")
		}, false},
		{"a node was killed and started", func() {
			docker(t, "kill", c.env+"-worker-1")
			docker(t, "start", c.env+"-worker-1")
		}, false},
		{"the service db0 was removed and made again", func() {
			docker(t, "exec", c.env+"-manager-1", "docker", "service", "rm", "db0")
			u.must("rethink", "create", "--image", rethinkImage, c.env)
		}, false},
		{"all nodes were stopped and started", func() {
			u.must("nodes", "stop", c.env)
			u.must("nodes", "start", c.env)
		}, true},
	} {
		page.begin()
		misfortune.happen()
		if misfortune.dark {
			c.aServer()
			page.begin()
		}
		c.heals(misfortune.name)
		silent := page.longest()
		t.Logf("%s: the tunnel was silent for %s", misfortune.name, silent.Round(100*time.Millisecond))
		if silent > answersWithin {
			t.Errorf("%s: the tunnel answered no new connection for %s", misfortune.name, silent)
		}
	}
	page.stop()
	w.check(orders)
	u.must("rethink", "rm", c.env)
	u.must("rethink", "create", "--image", rethinkImage, c.env)
	c.heals("all of it was removed and made again")
	if s, _ := c.status(); len(s.Tables) != 1 || s.Tables[0].Name != "orders" || s.Tables[0].Replicas != 3 {
		t.Errorf("tables: %+v", s.Tables)
	}
	c.nothingAnswersOutside()
}

// aServer waits until a server is there.
func (c *cluster) aServer() {
	c.t.Helper()
	begin := time.Now()
	eventually(c.t, wholeWithin, "a server", func() error {
		s, _ := c.status()
		for _, server := range s.Servers {
			if server.Version != "" {
				return nil
			}
		}
		return errors.New("none is there")
	})
	c.t.Logf("the first server was there after %s", time.Since(begin).Round(100*time.Millisecond))
}

// killTasks kills the processes of all tasks whose service begins so, on all
// nodes at once.
func (c *cluster) killTasks(service string) {
	c.t.Helper()
	var wait sync.WaitGroup
	for _, n := range c.nodes(c.env) {
		wait.Go(func() {
			docker(c.t, "exec", n.Name, "sh", "-c",
				"docker ps -q --filter name="+service+" | xargs -r docker kill >/dev/null")
		})
	}
	wait.Wait()
}

// threeNodes checks that the table's replicas are on as many nodes.
func (c *cluster) threeNodes(db, table string) {
	c.t.Helper()
	var config struct {
		Shards []struct {
			Replicas []string `rethinkdb:"replicas"`
		} `rethinkdb:"shards"`
	}
	if err := r.DB(db).Table(table).Config().ReadOne(&config, c.session); err != nil {
		c.t.Fatal(err)
	}
	nodes := map[string]bool{}
	for _, server := range config.Shards[0].Replicas {
		_, node, _ := strings.Cut(server, "_")
		nodes[node] = true
	}
	if len(nodes) != 3 {
		c.t.Errorf("replicas are on %v", nodes)
	}
}

// nothingAnswersOutside tries the ports of the database at every node from a
// host of the engine's own.
func (c *cluster) nothingAnswersOutside() {
	c.t.Helper()
	open := 0
	for _, n := range c.nodes(c.env) {
		for _, port := range []string{"8080", "28015", "29015", "22"} {
			conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(c.t.Context(), "tcp", net.JoinHostPort(n.Address, port))
			if err != nil {
				continue
			}
			_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
			line, _ := bufio.NewReader(conn).ReadString('\n')
			_ = conn.Close()
			if port == "22" && strings.HasPrefix(line, "SSH-") {
				open++ // which shows that this host gets through at all
				continue
			}
			c.t.Errorf("port %s of %s answers", port, n.Name)
		}
	}
	if open != len(c.nodes(c.env)) {
		c.t.Errorf("only %d nodes are reached at all", open)
	}
}

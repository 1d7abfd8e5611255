package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

const (
	// So soon a cluster is whole again, whatever was done to its servers.
	wholeWithin = time.Minute
	// So soon an open tunnel answers again.
	answersWithin = 5 * time.Second
)

// rethinkStatus is what the tests read of `rethink status --json`.
type rethinkStatus struct {
	Ready   bool
	Missing string
	Servers []struct {
		Name, Node, Region, Version string
		Connected                   int
		Ready                       bool
	}
	Tables []struct {
		DB, Name         string
		Shards, Replicas int
		Ready            bool `json:"all_replicas_ready"`
	}
}

// cluster is a RethinkDB cluster of a test and a client at the end of a tunnel.
type cluster struct {
	*user
	env     string
	servers int // so many there should be
	session *r.Session
}

func (c *cluster) status() (rethinkStatus, int) {
	c.t.Helper()
	got := c.run("rethink", "status", c.env, "--json")
	var s rethinkStatus
	if err := json.Unmarshal([]byte(got.out), &s); err != nil && got.code == 0 {
		c.t.Fatalf("status: %v: %s", err, got.out)
	}
	return s, got.code
}

// heals waits until every server sees every other and all replicas are there.
func (c *cluster) heals(what string) {
	c.t.Helper()
	begin := time.Now()
	eventually(c.t, wholeWithin, "whole after "+what, func() error {
		s, code := c.status()
		if code != 0 || !s.Ready {
			return fmt.Errorf("exit %d: %s", code, s.Missing)
		}
		if len(s.Servers) != c.servers {
			return fmt.Errorf("%d servers", len(s.Servers))
		}
		for _, server := range s.Servers {
			if server.Connected != c.servers-1 {
				return fmt.Errorf("%s sees %d others", server.Name, server.Connected)
			}
		}
		return nil
	})
	c.t.Logf("whole %s after %s", time.Since(begin).Round(100*time.Millisecond), what)
}

// port opens a tunnel to the stack and returns its local port.
func (c *cluster) port(remote string) int {
	c.t.Helper()
	var opened []struct {
		LocalPort int `json:"local_port"`
	}
	out := c.must("tunnel", "open", c.env, "rethink:"+remote, "--json").out
	if err := json.Unmarshal([]byte(out), &opened); err != nil || len(opened) != 1 {
		c.t.Fatalf("tunnel open: %v: %s", err, out)
	}
	return opened[0].LocalPort
}

func (c *cluster) password() string {
	c.t.Helper()
	path := filepath.Join(c.home, "c", "skep", "passwords", c.env+".rethink")
	info, err := os.Stat(path)
	if err != nil {
		c.t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		c.t.Errorf("%s is %s", path, info.Mode())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

func (c *cluster) connect() {
	c.t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", c.port("28015"))
	eventually(c.t, time.Minute, "a client is let in", func() (err error) {
		c.session, err = r.Connect(r.ConnectOpts{Address: address, Username: "admin", Password: c.password(), MaxOpen: 8, Timeout: 5 * time.Second})
		return err
	})
	c.t.Cleanup(func() { _ = c.session.Close() })
}

// do runs a query that changes something.
func (c *cluster) do(query r.Term) {
	c.t.Helper()
	if _, err := query.RunWrite(c.session); err != nil {
		c.t.Fatal(err)
	}
}

// writer inserts one document after another, each under its own number, and
// remembers which of them the database has acknowledged.
type writer struct {
	cluster *cluster
	acked   []int
	failed  int
	stop    context.CancelFunc
	done    chan struct{}
}

func (c *cluster) write(table r.Term) *writer {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writer{cluster: c, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			query, enough := context.WithTimeout(ctx, 5*time.Second)
			result, err := table.Insert(map[string]any{"id": n, "text": fmt.Sprint("document ", n)}, r.InsertOpts{Durability: "hard"}).
				RunWrite(c.session, r.RunOpts{Context: query})
			enough()
			if err == nil && result.Inserted == 1 {
				w.acked = append(w.acked, n)
			} else {
				w.failed++
			}
			<-tick.C
		}
	}()
	c.t.Cleanup(cancel)
	return w
}

// check ends the writing and sees that nothing acknowledged is lost.
func (w *writer) check(table r.Term) {
	t := w.cluster.t
	t.Helper()
	w.stop()
	<-w.done
	var ids []int
	eventually(t, time.Minute, "all documents are read", func() error {
		ids = nil
		return table.Field("id").ReadAll(&ids, w.cluster.session)
	})
	there := map[int]bool{}
	for _, id := range ids {
		there[id] = true
	}
	lost := slices.DeleteFunc(slices.Clone(w.acked), func(id int) bool { return there[id] })
	t.Logf("%d writes acknowledged, %d not, %d documents", len(w.acked), w.failed, len(ids))
	if len(lost) > 0 || len(w.acked) < 100 {
		t.Errorf("of %d acknowledged writes %d are lost: %v", len(w.acked), len(lost), lost)
	}
}

// prober opens a connection after the other to a page and remembers for how
// long none was answered.
type prober struct {
	mu     sync.Mutex
	last   time.Time // answered
	silent time.Duration
	stop   context.CancelFunc
}

func (c *cluster) probe(url, token string) *prober {
	ctx, cancel := context.WithCancel(context.Background())
	c.t.Cleanup(cancel)
	p := &prober{last: time.Now(), stop: cancel}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			if asks(client, url, token) {
				p.mu.Lock()
				p.silent = max(p.silent, time.Since(p.last))
				p.last = time.Now()
				p.mu.Unlock()
			}
			<-tick.C
		}
	}()
	return p
}

// asks says whether a page has the text.
func asks(client *http.Client, url, token string) bool {
	response, err := client.Get(url) //nolint:noctx // the client has its timeout
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return err == nil && strings.Contains(string(text), token)
}

// begin forgets what was before.
func (p *prober) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.silent = time.Now(), 0
}

// longest is the longest time without an answer since begin.
func (p *prober) longest() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.silent, time.Since(p.last))
}

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

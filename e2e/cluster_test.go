package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

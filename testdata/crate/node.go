package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// kept is what a node writes down: which cluster it is of, and who began that.
type kept struct {
	UUID    string   `json:"uuid"`
	Masters []string `json:"masters"`
}

// hello is what two nodes tell each other over port 4300.
type hello struct {
	Cluster string `json:"cluster"`
	Name    string `json:"name"`
	Address string `json:"address"`
	kept
}

type node struct {
	settings settings
	file     string
	begin    time.Time

	mu        sync.Mutex
	kept      kept
	peers     map[string]peer // by name
	recovered bool
}

type peer struct {
	hello
	seen time.Time
}

const (
	lookEvery = 300 * time.Millisecond
	// lost is how long a peer may be silent.
	lost = 3 * time.Second
	// patience is how long a node waits for the last expected ones before it recovers without them, and for its own
	// address to be among those of the seeds.
	patience = 10 * time.Second
)

func run(s settings) error {
	n := &node{settings: s, file: filepath.Join(s["path.data"], "nodes", "0", "_state", "stand-in.json"), begin: time.Now(), peers: map[string]peer{}}
	text, err := os.ReadFile(n.file)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(text, &n.kept); err != nil {
			return err
		}
		// The real server only ignores it; here it shows that a start script forgot the rule.
		if s["cluster.initial_master_nodes"] != "" {
			return errors.New("cluster.initial_master_nodes on a node that is of a cluster already")
		}
	}
	ctx := context.Background()
	transport, err := new(net.ListenConfig).Listen(ctx, "tcp", s["network.host"]+":"+s["transport.port"])
	if err != nil {
		return err
	}
	failed := make(chan error, 3)
	go func() { failed <- n.accept(transport) }()
	go func() { failed <- n.serve() }()
	go func() { failed <- n.look(ctx) }()
	return <-failed
}

func (n *node) hello() hello {
	n.mu.Lock()
	defer n.mu.Unlock()
	return hello{n.settings["cluster.name"], n.settings["node.name"], n.settings["network.publish_host"], n.kept}
}

func (n *node) accept(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := n.meet(conn); err != nil {
				fmt.Fprintln(os.Stderr, "crate (stand-in):", err)
			}
		}()
	}
}

// meet tells who this is and learns who the other is.
func (n *node) meet(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if err := json.NewEncoder(conn).Encode(n.hello()); err != nil {
		return err
	}
	var other hello
	if err := json.NewDecoder(conn).Decode(&other); err != nil {
		return err
	}
	return n.met(other)
}

// met joins the other's cluster where this node is of none yet. Two clusters never become one.
func (n *node) met(other hello) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if other.Cluster != n.settings["cluster.name"] || other.Name == n.settings["node.name"] {
		return nil
	}
	if n.kept.UUID == "" && other.UUID != "" {
		if err := n.keep(other.kept); err != nil {
			return err
		}
	}
	if n.kept.UUID != "" && other.UUID != "" && n.kept.UUID != other.UUID {
		return fmt.Errorf("%s is of another cluster, %s: this one is of %s", other.Name, other.UUID, n.kept.UUID)
	}
	n.peers[other.Name] = peer{other, time.Now()}
	return nil
}

func (n *node) keep(k kept) error {
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(n.file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(n.file, text, 0o644); err != nil {
		return err
	}
	n.kept = k
	return nil
}

// look resolves the seeds again and again and meets whoever is there.
func (n *node) look(ctx context.Context) error {
	host, port, err := net.SplitHostPort(n.settings["discovery.seed_hosts"])
	if err != nil {
		return fmt.Errorf("discovery.seed_hosts: %w", err)
	}
	own := n.settings["network.publish_host"]
	wasSeed := false
	dialer := net.Dialer{Timeout: time.Second}
	for range time.Tick(lookEvery) {
		addresses, _ := new(net.Resolver).LookupHost(ctx, host)
		wasSeed = wasSeed || slices.Contains(addresses, own)
		if !wasSeed && len(addresses) > 0 && time.Since(n.begin) > patience {
			return fmt.Errorf("network.publish_host %s is not on the network of the seeds %v", own, addresses)
		}
		for _, a := range addresses {
			if a == own {
				continue
			}
			if conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(a, port)); err == nil {
				if err := n.meet(conn); err != nil {
					fmt.Fprintln(os.Stderr, "crate (stand-in):", err)
				}
				conn.Close()
			}
		}
		if err := n.advance(); err != nil {
			return err
		}
	}
	return nil
}

// advance begins a cluster, and recovers it. All that are named begin it together: the real server is content with most
// of them, and elects.
func (n *node) advance() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	alive := n.alive()
	name := n.settings["node.name"]
	if masters := n.settings["cluster.initial_master_nodes"]; n.kept.UUID == "" && masters != "" {
		all := strings.Split(masters, ",")
		if !slices.Contains(all, name) {
			return fmt.Errorf("%s is not of cluster.initial_master_nodes %s", name, masters)
		}
		there := !slices.ContainsFunc(all, func(m string) bool { return !slices.Contains(alive, m) })
		if there && slices.Min(all) == name {
			if err := n.keep(kept{rand.Text(), all}); err != nil {
				return err
			}
		}
	}
	if !n.led(alive) {
		n.recovered = false
		return nil
	}
	expected, _ := strconv.Atoi(n.settings["gateway.expected_data_nodes"])
	after, _ := strconv.Atoi(n.settings["gateway.recover_after_data_nodes"])
	n.recovered = n.recovered || len(alive) >= expected || len(alive) >= after && time.Since(n.begin) > patience
	return nil
}

// alive are this node and those of its cluster that it hears.
func (n *node) alive() []string {
	names := []string{n.settings["node.name"]}
	for _, p := range n.peers {
		if time.Since(p.seen) < lost {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names
}

// led says whether most of those that may lead are there.
func (n *node) led(alive []string) bool {
	there := 0
	for _, m := range n.kept.Masters {
		if slices.Contains(alive, m) {
			there++
		}
	}
	return n.kept.UUID != "" && there > len(n.kept.Masters)/2
}

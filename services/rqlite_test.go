package services

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"skep/usage"

	api "github.com/docker/docker/api/types/swarm"
)

func TestRqliteNamesItselfAfterItsHost(t *testing.T) {
	w := newWorld(t, "rqlited")
	command := Rqlite(RqliteCluster{Mode: RqliteDNS, Voters: 3, Expect: 3}).Services[0].TaskTemplate.ContainerSpec.Command
	args, stderr, err := w.run(command[0], command[2], "HOSTNAME=rq-dev-worker-1")
	if err != nil || stderr != "" {
		t.Fatalf("%v: %s", err, stderr)
	}
	want := []string{
		"-node-id", "rq-dev-worker-1",
		"-http-addr", "0.0.0.0:4001", "-http-adv-addr", "rq-dev-worker-1:4001",
		"-raft-addr", "0.0.0.0:4002", "-raft-adv-addr", "rq-dev-worker-1:4002",
		"/rqlite/file/data",
	}
	if !slices.Equal(args, want) {
		t.Errorf("started with\n%q, not\n%q", args, want)
	}
	wantArgs := []string{"sh", "-c", rqliteStart, "rqlite", "-bootstrap-expect", "3", "-disco-mode", "dns", "-disco-config", `{"name":"tasks.rqlite"}`}
	if !slices.Equal(command, wantArgs) {
		t.Errorf("command %q", command)
	}
}

// Whatever the servers are called, they are called so in nobody else's cluster.
func TestClustersShareNoNames(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"", "a", "rq", "orders", "a-1", "1a", "rqlite"} {
		for _, mode := range []RqliteMode{RqliteDNS, RqliteBootstrap, RqliteDNSSRV} {
			if CheckRqliteName(name) != nil {
				continue
			}
			c := RqliteCluster{Name: name, Mode: mode, Voters: 3, Expect: 3, Readers: true}
			stack := Rqlite(c)
			for _, s := range stack.Services {
				container := s.TaskTemplate.ContainerSpec
				names := []string{"service " + s.Name}
				if container.Hostname != "" {
					names = append(names, "host "+container.Hostname, "volume "+container.Mounts[0].Source)
				}
				for _, n := range names {
					if other, ok := seen[n]; ok && other != stack.Name {
						t.Errorf("%s is of %q and of %q", n, other, stack.Name)
					}
					seen[n] = stack.Name
				}
				if !OfRqlite(name, s.Name) || OfRqlite("other", s.Name) {
					t.Errorf("%s is not known as of cluster %q alone", s.Name, name)
				}
			}
		}
	}
}

func TestAnotherVoterRestartsNobody(t *testing.T) {
	for _, mode := range []RqliteMode{RqliteDNS, RqliteBootstrap} {
		few := Rqlite(RqliteCluster{Mode: mode, Voters: 3, Expect: 3})
		many := Rqlite(RqliteCluster{Mode: mode, Voters: 5, Expect: 3})
		for i, s := range few.Services {
			if !reflect.DeepEqual(s, many.Services[i]) {
				t.Errorf("%s: %s becomes another", mode, s.Name)
			}
		}
	}
}

// What a later create knows of a cluster is what the first one made it of.
func TestAClusterIsReadFromItsServices(t *testing.T) {
	for _, want := range []RqliteCluster{
		{Mode: RqliteDNS, Expect: 3},
		{Mode: RqliteBootstrap, Expect: 5},
		{Mode: RqliteEtcd, Expect: 3, Key: "rqlite-abcd"},
		{Mode: RqliteConsul, Expect: 1, Key: "k"},
		{Mode: RqliteConsul, Expect: 1, Key: "k", Consul: "https://10.0.0.5:8501"},
		{Mode: RqliteService, Expect: 3, Key: "id"},
	} {
		c := want
		c.Voters = 1
		var got RqliteCluster
		if err := got.read(api.Service{Spec: Rqlite(c).Services[0]}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, not %+v, %v", got, want, err)
		}
	}
}

func TestRqliteOptionsThatCannotBe(t *testing.T) {
	for _, o := range []RqliteOptions{
		{Voters: 2}, {Voters: -1}, {Voters: 7}, {Mode: "raft"}, {Name: "Orders"}, {Name: "ro"}, {Name: "a-dns"}, {Name: "-a"}, {Name: "1a"},
		{Name: strings.Repeat("a", 16)}, {Consul: "10.0.0.5:8500"}, {Mode: RqliteConsul, Consul: "nowhere"}, {Mode: RqliteConsul, Consul: "ftp://a:1"},
		{Mode: RqliteConsul, Consul: "a:1/$HOME"},
	} {
		var wrong usage.Error
		if err := o.Check(); !errors.As(err, &wrong) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, o := range []RqliteOptions{{}, {Voters: 5, Mode: RqliteEtcd, Name: "orders"}, {Mode: RqliteConsul, Consul: "https://consul.example.com:8501/"}} {
		if err := o.Check(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestTheLeaderGoesLast(t *testing.T) {
	node := func(name, label string, ready bool) api.Node {
		n := api.Node{Description: api.NodeDescription{Hostname: name}}
		n.Spec.Labels = map[string]string{"skep.rqlite": label, "skep.rq": label}
		n.Spec.Availability = api.NodeAvailabilityActive
		if ready {
			n.Status.State = api.NodeStateReady
		}
		return n
	}
	order := func(c RqliteCluster, leader string, nodes ...api.Node) string {
		slices.SortFunc(nodes, func(a, b api.Node) int { return c.goesFirst(a, b, leader) })
		var names []string
		for _, n := range nodes {
			names = append(names, n.Description.Hostname)
		}
		return strings.Join(names, " ")
	}
	got := order(RqliteCluster{Mode: RqliteDNS}, "rq-d", node("a", "true", true), node("b", "true", false), node("c", "true", true), node("d", "true", true))
	if got != "b c a d" {
		t.Errorf("by nodes: %s", got)
	}
	got = order(RqliteCluster{Mode: RqliteBootstrap}, "rq3", node("a", "2", true), node("b", "3", true), node("c", "10", true), node("d", "1", false))
	if got != "c b a d" {
		t.Errorf("by numbers: %s", got)
	}
}

// An old server begins anew where its address is another and a peer has a leader.
func TestOldRqliteBeginsAnewOnlyBesideALeader(t *testing.T) {
	const addressFile, data = "file/address", "file/data"
	for name, test := range map[string]struct {
		before, answer string
		anew           bool
	}{
		"the same address":            {"10.0.1.5", "HTTP/1.1 200 OK", false},
		"another, with a leader":      {"10.0.1.4", "HTTP/1.1 200 OK", true},
		"another, taken out before":   {"10.0.1.4", "HTTP/1.1 500 Internal Server Error\r\n\r\npeer is unknown", true},
		"another, without a leader":   {"10.0.1.4", "HTTP/1.1 503 Service Unavailable", false},
		"another, that only forwards": {"10.0.1.4", "HTTP/1.1 301 Moved Permanently", false},
		"another, nobody is there":    {"10.0.1.4", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "rqlited")
			w.resolves("rq-a", "10.0.1.5")
			w.resolves("tasks.rqlite", "10.0.1.5", "10.0.1.6")
			w.write("bin/getent", "#!/bin/sh\nwhile read -r a; do echo \"$a $2\"; done <\"$WORLD/dns/$2\"\n")
			w.write("bin/sleep", "#!/bin/sh\n")
			w.write("bin/curl", "#!/bin/sh\ncase \"$*\" in *DELETE*'{\"addr\":\"10.0.1.4:4002\"} http://10.0.1.6:4001/remove') cat \"$WORLD/answer\";; *) exit 4;; esac\n")
			w.write("answer", test.answer)
			w.write(addressFile, test.before)
			w.write(data+"/raft.db", "x")
			args, _, err := w.run("sh", strings.ReplaceAll(rqlite4Start, "/rqlite/file", w.dir+"/file"), "HOSTNAME=rq-a", "SKEP_PEERS=tasks.rqlite")
			if err != nil || len(args) == 0 || !slices.Contains(args, "10.0.1.5:4002") {
				t.Fatalf("%v: %q", err, args)
			}
			if got := w.has(data + ".before/raft.db"); got != test.anew {
				t.Errorf("its data was put aside: %v", got)
			}
			if got := w.has(data + "/raft.db"); got == test.anew {
				t.Errorf("its data is there: %v", got)
			}
		})
	}
}

// The servers for records are asked before the engine's own.
func TestRqliteAsksTheServersOfItsRecordsFirst(t *testing.T) {
	w := newWorld(t, "rqlited")
	w.write("bin/getent", "#!/bin/sh\n[ -s \"$WORLD/slept\" ] && printf '10.0.1.8 x\\n10.0.1.9 x\\n'\ntrue\n")
	// What looks again later on must not be at it when the test is over.
	w.write("bin/sleep", "#!/bin/sh\n[ \"$1\" != 10 ] || exit 1\n"+fakeSleep)
	script := strings.ReplaceAll(rqliteStart, "/etc/resolv.conf", w.dir+"/resolv.conf")
	if _, stderr, err := w.run("sh", script, "HOSTNAME=rq-a", "SKEP_DNS=tasks.rqlite-dns"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	want := "nameserver 10.0.1.8\nnameserver 10.0.1.9\nnameserver 127.0.0.11\noptions timeout:1 attempts:2 ndots:0\n"
	if got := w.read("resolv.conf"); got != want {
		t.Errorf("resolv.conf:\n%s", got)
	}
}

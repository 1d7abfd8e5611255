package rethink

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// places reads "server@node/region …".
func places(text string) []Place {
	var all []Place
	for _, f := range strings.Fields(text) {
		server, where, _ := strings.Cut(f, "@")
		node, region, _ := strings.Cut(where, "/")
		all = append(all, Place{Server: server, Node: node, Region: region})
	}
	return all
}

func table(name string, replicas ...string) Table {
	shard := Shard{Replicas: replicas}
	if len(replicas) > 0 {
		shard.Primary = replicas[0]
	}
	return Table{ID: name, DB: "d", Name: name, Shards: []Shard{shard}}
}

func TestPlan(t *testing.T) {
	const three = "db0@m/l db1_m@m/l db1_a@a/l db1_b@b/l"
	const regions = "a1@a1/ams a2@a2/ams a3@a3/ams s1@s1/sgp n1@n1/nyc"
	for name, test := range map[string]struct {
		places string
		table  Table
		want   string // replicas, the primary first; "" for no change
	}{
		"one replica becomes three on as many nodes": {three, table("t", "db0"), "db0 db1_a db1_b"},
		"two on one node are one too few":            {three, table("t", "db0", "db1_m", "db1_a"), "db0 db1_a db1_b"},
		"well placed stays":                          {three, table("t", "db1_b", "db1_a", "db1_m"), ""},
		"more than three stay":                       {three, table("t", "db0", "db1_m", "db1_a", "db1_b"), ""},
		"a server that is gone is replaced":          {three, table("t", "gone", "db1_a", "db1_b"), "db1_a db0 db1_b"},
		"no more than there are":                     {"db0@m/l db1_m@m/l", table("t", "db0"), "db0 db1_m"},
		"one server":                                 {"db0@m/l", table("t", "db0"), ""},
		"over regions before nodes":                  {regions, table("t", "a1", "a2", "a3"), "a1 n1 s1"},
		"two regions and a second node":              {"a1@a1/ams a2@a2/ams s1@s1/sgp", table("t", "a1"), "a1 a2 s1"},
		"no server at all":                           {"", table("t", "db0"), "?"},
	} {
		t.Run(name, func(t *testing.T) {
			moves := Plan(places(test.places), []Table{test.table})
			if test.want == "" {
				if len(moves) > 0 {
					t.Errorf("moves %+v", moves)
				}
				return
			}
			if len(moves) != 1 {
				t.Fatalf("moves %+v", moves)
			}
			to := moves[0].To[0]
			if test.want == "?" {
				if len(to.Replicas) > 0 {
					t.Errorf("places %v", to)
				}
				return
			}
			others := slices.DeleteFunc(slices.Clone(to.Replicas), func(r string) bool { return r == to.Primary })
			slices.Sort(others)
			if got := strings.Join(append([]string{to.Primary}, others...), " "); got != test.want {
				t.Errorf("places %s, not %s", got, test.want)
			}
		})
	}
}

func TestPlanSpreadsTablesOverServersAndIsStable(t *testing.T) {
	all := places("db1_a@a/l db1_b@b/l db1_c@c/l db1_d@d/l db1_e@e/l db1_f@f/l")
	var tables []Table
	for n := range 8 {
		tables = append(tables, table(fmt.Sprint("t", n), "db1_a"))
	}
	load := map[string]int{}
	for _, m := range Plan(all, tables) {
		for i := range tables {
			if tables[i].ID == m.ID {
				tables[i].Shards = m.To
			}
		}
		for _, r := range m.To[0].Replicas {
			load[r]++
		}
	}
	// 8 tables with their first replica on a: 16 more over five servers.
	for _, p := range all[1:] {
		if n := load[p.Server]; n < 3 || n > 4 {
			t.Errorf("%s has %d replicas: %v", p.Server, n, load)
		}
	}
	if again := Plan(all, tables); len(again) > 0 {
		t.Errorf("planned again it moves %+v", again)
	}
}

func TestPlanLeavesReplicasWithoutAVote(t *testing.T) {
	now := Table{ID: "t", Shards: []Shard{{Primary: "a", Replicas: []string{"a", "d"}, Nonvoting: []string{"d"}}}}
	moves := Plan(places("a@a/l b@b/l c@c/l d@d/l"), []Table{now})
	want := Shard{Primary: "a", Replicas: []string{"a", "b", "c", "d"}, Nonvoting: []string{"d"}}
	if len(moves) != 1 || !reflect.DeepEqual(moves[0].To[0], want) {
		t.Errorf("%+v", moves)
	}
}

func TestLeave(t *testing.T) {
	going := func(server string) bool { return strings.HasPrefix(server, "db2") }
	for name, test := range map[string]struct {
		table Table
		want  []string // replicas, the primary first; nil for stuck, empty for no move
	}{
		"not there":       {table("t", "db0", "db1"), []string{}},
		"one of three":    {table("t", "db0", "db1", "db2"), []string{"db0", "db1"}},
		"the primary":     {table("t", "db2", "db1", "db0"), []string{"db1", "db0"}},
		"two of three":    {table("t", "db2", "db2x", "db0"), []string{"db0"}},
		"the only one":    {table("t", "db2"), nil},
		"all with a vote": {Table{ID: "t", Shards: []Shard{{Primary: "db2", Replicas: []string{"db2", "db0"}, Nonvoting: []string{"db0"}}}}, nil},
		"without a shard": {Table{ID: "t"}, nil},
	} {
		moves, stuck := Leave([]Table{test.table}, going)
		switch {
		case test.want == nil:
			if len(stuck) != 1 || len(moves) > 0 {
				t.Errorf("%s: moves %+v, stuck %v", name, moves, stuck)
			}
		case len(test.want) == 0:
			if len(moves) > 0 || len(stuck) > 0 {
				t.Errorf("%s: moves %+v, stuck %v", name, moves, stuck)
			}
		default:
			if len(moves) != 1 || moves[0].To[0].Primary != test.want[0] || !slices.Equal(moves[0].To[0].Replicas, test.want) {
				t.Errorf("%s: moves %+v, stuck %v", name, moves, stuck)
			}
		}
	}
}

func TestName(t *testing.T) {
	for text, want := range map[string]string{"db1_dev-worker-2": "db1_dev_worker_2", "dév": "d_v", "a b.c": "a_b_c", "": ""} {
		if got := Name(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestStragglers(t *testing.T) {
	server := func(id string, sees ...string) Server {
		s := Server{ID: id, Name: "n" + id}
		s.Network.Hostname = "h" + id
		s.Network.ConnectedTo = map[string]bool{}
		for _, o := range sees {
			s.Network.ConnectedTo["n"+o] = true
		}
		return s
	}
	for name, test := range map[string]struct {
		cluster Cluster
		hosts   []string
		want    []string
	}{
		"whole":            {Cluster{Servers: []Server{server("a", "b"), server("b", "a")}}, []string{"ha", "hb"}, nil},
		"one is not there": {Cluster{Servers: []Server{server("a")}}, []string{"ha", "hb"}, []string{"hb"}},
		"one does not see": {Cluster{Servers: []Server{server("a", "b"), server("b")}}, []string{"ha", "hb"}, []string{"hb"}},
		"nobody":           {Cluster{}, []string{"ha"}, []string{"ha"}},
	} {
		if got := test.cluster.Stragglers(test.hosts); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// given are the settings of a server as skep's stack starts it.
func given() []string {
	return []string{
		"-Ccluster.name=skep", "-Cnode.name=a", "-Cpath.data=/data/data", "-Cnetwork.host=0.0.0.0", "-Cnetwork.publish_host=127.0.0.1",
		"-Chttp.port=4200", "-Ctransport.port=4300", "-Cdiscovery.seed_hosts=tasks.crate:4300",
		"-Cgateway.expected_data_nodes=3", "-Cgateway.recover_after_data_nodes=2",
	}
}

func TestSettingsThatTheServerWouldNotTake(t *testing.T) {
	if _, err := parse(given()); err != nil {
		t.Fatal(err)
	}
	for _, extra := range []string{"-Cgateway.expected_nodes=3", "--join", "-Cnode.name", "-Cnode.name=", "-Cnode.name=b"} {
		if _, err := parse(append(given(), extra)); err == nil {
			t.Errorf("%s is taken", extra)
		}
	}
	for i := range given() {
		if _, err := parse(slices.Delete(given(), i, i+1)); err == nil || !strings.Contains(err.Error(), "missing") {
			t.Errorf("without %s: %v", given()[i], err)
		}
	}
}

func newNode(t *testing.T, name, masters string) *node {
	t.Helper()
	return &node{
		settings: settings{"node.name": name, "cluster.name": "skep", "cluster.initial_master_nodes": masters, "gateway.expected_data_nodes": "3", "gateway.recover_after_data_nodes": "2"},
		file:     t.TempDir() + "/nodes/state", begin: time.Now(), peers: map[string]peer{},
	}
}

// introduce lets all nodes meet, and do what follows.
func introduce(t *testing.T, nodes ...*node) (refused int) {
	t.Helper()
	for range 3 {
		for _, n := range nodes {
			for _, other := range nodes {
				if n.met(other.hello()) != nil {
					refused++
				}
			}
			if err := n.advance(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return refused
}

func TestNamedNodesBeginOneCluster(t *testing.T) {
	a, b, c, d := newNode(t, "a", "a,b,c"), newNode(t, "b", "a,b,c"), newNode(t, "c", "a,b,c"), newNode(t, "d", "")
	introduce(t, a, b, d)
	if _, ready := a.state(); ready || a.kept.UUID != "" {
		t.Error("it began without c")
	}
	introduce(t, a, b, c, d)
	for _, n := range []*node{a, b, c, d} {
		if alive, ready := n.state(); !ready || len(alive) != 4 || n.kept.UUID != a.kept.UUID {
			t.Errorf("%s: %v, %v, %s", n.settings["node.name"], alive, ready, n.kept.UUID)
		}
	}
	// Without most of those that began it there is no master.
	a.peers["b"], a.peers["c"] = peer{}, peer{}
	if _, ready := a.state(); ready {
		t.Error("one of three leads")
	}
}

func TestTwoClustersNeverBecomeOne(t *testing.T) {
	a, b := newNode(t, "a", "a"), newNode(t, "b", "b")
	introduce(t, a)
	introduce(t, b)
	if refused := introduce(t, a, b); refused == 0 || a.kept.UUID == b.kept.UUID {
		t.Errorf("refused %d times: %s, %s", refused, a.kept.UUID, b.kept.UUID)
	}
}

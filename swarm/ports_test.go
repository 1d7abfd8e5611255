package swarm

import (
	"slices"
	"testing"

	api "github.com/docker/docker/api/types/swarm"
)

func TestListeningReadsTheKernelsTable(t *testing.T) {
	text := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00007F:9C05 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3
   3: 0201C90A:0016 0101C90A:D2F0 01 00000000:00000000 00:00000000 00000000     0        0 4
   0: 00000000000000000000000000000000:2382 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 5
   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 6
`
	if got := listening(text); !slices.Equal(got, []int{22, 9090}) {
		t.Errorf("%v", got)
	}
}

func TestMeets(t *testing.T) {
	n := api.Node{ID: "abc", Spec: api.NodeSpec{Annotations: api.Annotations{Labels: map[string]string{"disk": "fast"}}, Role: api.NodeRoleWorker}}
	n.Description.Hostname, n.Description.Platform = "dev-worker-1", api.Platform{OS: "linux", Architecture: "x86_64"}
	n.Description.Engine.Labels = map[string]string{"rack": "2"}
	for constraint, want := range map[string]bool{
		"node.labels.disk==fast": true, "node.labels.disk == fast": true, "node.labels.disk!=fast": false,
		"node.labels.none==x": false, "node.labels.none!=x": true,
		"node.role==worker": true, "node.role==manager": false, "node.hostname==dev-worker-1": true, "node.id!=abc": false,
		"node.platform.arch==x86_64": true, "node.platform.os!=windows": true, "engine.labels.rack==2": true,
	} {
		if got := Meets([]string{constraint}, n); got != want {
			t.Errorf("%s: %t", constraint, got)
		}
	}
	if !Meets(nil, n) || Meets([]string{"node.role==worker", "node.id==other"}, n) {
		t.Error("all constraints count, and none is none")
	}
}

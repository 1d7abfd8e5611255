package swarm

import (
	"testing"

	api "github.com/docker/docker/api/types/swarm"
)

func TestPlaced(t *testing.T) {
	node := api.Node{}
	node.Spec.Labels = map[string]string{"skep.rqlite": "true", "skep.rq": "2"}
	for constraint, want := range map[string]bool{
		"node.labels.skep.rqlite==true": true, "node.labels.skep.rqlite!=true": false,
		"node.labels.skep.rq==2": true, "node.labels.skep.rq==1": false, "node.labels.skep.rq!=1": true, "node.labels.skep.rq!=2": false,
		"node.labels.skep.other==true": false, "node.labels.skep.other!=true": true,
	} {
		if got := placed(&api.Placement{Constraints: []string{constraint}}, node); got != want {
			t.Errorf("%s: %v", constraint, got)
		}
	}
	if !placed(nil, node) || !placed(&api.Placement{Constraints: []string{"node.labels.skep.rq!=1", "node.labels.skep.rq!=3"}}, node) {
		t.Error("a node that nothing keeps a task from has none")
	}
}

package nodes

import (
	"strings"
	"testing"

	api "github.com/docker/docker/api/types/swarm"
)

// members in short: `m1 m2- w1` are two managers, the second out of reach, and
// a worker.
func parseMembers(short string) []api.Node {
	var all []api.Node
	for name := range strings.FieldsSeq(short) {
		name, unreachable := strings.CutSuffix(name, "-")
		n := api.Node{ID: "id-" + name, Description: api.NodeDescription{Hostname: long(name)}}
		n.Spec.Role = api.NodeRoleWorker
		if name[0] == 'm' {
			n.Spec.Role = api.NodeRoleManager
			n.ManagerStatus = &api.ManagerStatus{Reachability: api.ReachabilityReachable}
			if unreachable {
				n.ManagerStatus.Reachability = api.ReachabilityUnreachable
			}
		}
		all = append(all, n)
	}
	return all
}

func TestKeepsQuorum(t *testing.T) {
	for _, test := range []struct {
		members, going string
		refused        string // at which one
	}{
		{"m1 w1 w2", "w1", ""},
		{"m1 w1 w2", "w1 w2", ""},
		{"m1 m2", "m2", ""},
		{"m1 m2", "m1", ""},
		{"m1 m2 m3", "m1 m2", ""},
		{"m1 m2 m3 m4 m5", "m1 m2 m3 m4", ""},
		// What is out of reach may go while the others have a majority.
		{"m1 m2 m3-", "m3", ""},
		{"m1 m2 m3- m4- m5", "m3 m4", ""},
		// Workers and strangers cost no quorum.
		{"m1 m2 m3-", "w1 w9", ""},
		// One that is well may not, while another is out of reach.
		{"m1 m2 m3-", "m2", "m2"},
		{"m1 m2-", "m1", "m1"},
		{"m1 m2 m3 m4- m5-", "m1", "m1"},
		{"m1 m2 m3 m4 m5-", "m1 m2", ""},
		{"m1 m2 m3 m4 m5-", "m1 m2 m3", "m3"},
		{"m1 m2 m3 m4 m5-", "m1", ""},
	} {
		err := keepsQuorum(parseMembers(test.members), longs(test.going))
		switch {
		case test.refused == "" && err != nil:
			t.Errorf("%s less %s: %v", test.members, test.going, err)
		case test.refused != "" && (err == nil || !strings.Contains(err.Error(), "without "+long(test.refused)+" only")):
			t.Errorf("%s less %s: not refused at %s: %v", test.members, test.going, test.refused, err)
		}
	}
}

func TestWhatIsOutOfReachGoesBeforeWhatIsWell(t *testing.T) {
	for _, test := range []struct{ members, going, order, refused string }{
		{"m1 m2 m3- w1", "m2 m3 w1", "w1 m3 m2", ""},
		{"m3- m2 m1", "m2 m3", "m3 m2", ""},
		{"m1 m2 m3 m4- m5-", "m1 m4 m5", "m4 m5 m1", ""},
		{"m1 m2 m3 m4- m5-", "m1 m4", "m4 m1", ""},
		{"m1 m2 m3-", "w1 m1 m2", "w1 m1 m2", "m1"},
		{"m1 w1 w2", "w2 w1", "w2 w1", ""}, // among equals as they were named
	} {
		members, going := parseMembers(test.members), parseMachines(test.going)
		cheapestFirst(going, members)
		if got := strings.Join(short(going), " "); got != test.order {
			t.Errorf("%s less %s: in the order %s", test.members, test.going, got)
		}
		err := keepsQuorum(members, names(going))
		if test.refused == "" && err != nil || test.refused != "" && (err == nil || !strings.Contains(err.Error(), long(test.refused))) {
			t.Errorf("%s less %s: %v", test.members, test.going, err)
		}
	}
}

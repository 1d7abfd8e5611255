package swarm

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
)

func TestState(t *testing.T) {
	for name, test := range map[string]struct {
		info api.Info
		want State
	}{
		"in no swarm":            {api.Info{LocalNodeState: api.LocalNodeStateInactive}, State{}},
		"an engine says nothing": {api.Info{}, State{}},
		"a worker":               {api.Info{NodeID: "w", LocalNodeState: api.LocalNodeStateActive}, State{ID: "w", Member: true}},
		"a manager": {
			api.Info{NodeID: "m", LocalNodeState: api.LocalNodeStateActive, ControlAvailable: true},
			State{ID: "m", Member: true, Manager: true},
		},
		"a manager without quorum": {
			api.Info{NodeID: "m", LocalNodeState: api.LocalNodeStateActive, ControlAvailable: true, Error: "The swarm does not have a leader"},
			State{ID: "m", Member: true, Problem: "The swarm does not have a leader"},
		},
		"on its way in":     {api.Info{LocalNodeState: api.LocalNodeStatePending}, State{Member: true, Pending: true}},
		"failed on its way": {api.Info{LocalNodeState: api.LocalNodeStateError, Error: "no route"}, State{Member: true, Problem: "no route"}},
		"a locked manager":  {api.Info{LocalNodeState: api.LocalNodeStateLocked, ControlAvailable: true}, State{Member: true}},
	} {
		if got := state(system.Info{Swarm: test.info}); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, not %+v", name, got, test.want)
		}
	}
}

func TestMemberIsTheReadyOneThenTheNewest(t *testing.T) {
	node := func(id, host string, ready bool, age time.Duration) api.Node {
		n := api.Node{ID: id, Description: api.NodeDescription{Hostname: host}}
		n.Status.State = api.NodeStateDown
		if ready {
			n.Status.State = api.NodeStateReady
		}
		n.CreatedAt = time.Unix(1e9, 0).Add(-age)
		return n
	}
	for name, test := range map[string]struct {
		nodes []api.Node
		want  string
	}{
		"none":                  {nil, ""},
		"another host":          {[]api.Node{node("a", "dev-worker-10", true, 0)}, ""},
		"the only one, down":    {[]api.Node{node("a", "dev-worker-1", false, 0)}, "a"},
		"ready before down":     {[]api.Node{node("old", "dev-worker-1", true, time.Hour), node("new", "dev-worker-1", false, 0)}, "old"},
		"down after ready":      {[]api.Node{node("new", "dev-worker-1", false, 0), node("old", "dev-worker-1", true, time.Hour)}, "old"},
		"the newest of ready":   {[]api.Node{node("old", "dev-worker-1", true, time.Hour), node("new", "dev-worker-1", true, 0)}, "new"},
		"the newest of down":    {[]api.Node{node("new", "dev-worker-1", false, 0), node("old", "dev-worker-1", false, time.Hour)}, "new"},
		"among those of others": {[]api.Node{node("x", "dev-worker-2", true, 0), node("a", "dev-worker-1", false, 0), node("y", "dev-manager-1", true, 0)}, "a"},
	} {
		got, ok := Member(test.nodes, "dev-worker-1")
		if got.ID != test.want || ok != (test.want != "") {
			t.Errorf("%s: %q, %t", name, got.ID, ok)
		}
	}
}

func TestBrief(t *testing.T) {
	for full, want := range map[string]string{
		"no such image": "no such image",
		"Error response from daemon: No such container: x":     "No such container: x",
		"Error response from daemon: conflict\nand more of it": "conflict",
		"\n  two\nlines": "two",
	} {
		if got := brief(errors.New(full)); got != want {
			t.Errorf("%q became %q, not %q", full, got, want)
		}
	}
	// A manager's error comes through gRPC.
	got := brief(errors.New("Error response from daemon: rpc error: code = NotFound desc = network dbnet not found"))
	if !strings.HasSuffix(got, "network dbnet not found") || strings.Contains(got, "daemon") {
		t.Errorf("it became %q", got)
	}
}

func TestPollAsksUntilNothingIsMissing(t *testing.T) {
	answers := []struct {
		what string
		err  error
	}{{"one is not ready", nil}, {"", errors.New("no route")}, {"", nil}}
	asked := 0
	err := poll(t.Context(), func() (string, error) {
		a := answers[asked]
		asked++
		return a.what, a.err
	})
	if err != nil || asked != len(answers) {
		t.Errorf("asked %d times, %v", asked, err)
	}
}

func TestPollSaysWhatWasMissingToTheLast(t *testing.T) {
	late := errors.New("the swarm did not form within 3m0s")
	broken := errors.New("no route")
	for name, test := range map[string]struct {
		what string
		err  error
		want string
	}{
		"something": {"dev-worker-1 is not ready", nil, late.Error() + ": dev-worker-1 is not ready"},
		"an answer": {"", broken, late.Error() + ": no route"},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		err := poll(ctx, func() (string, error) {
			cancel(late)
			return test.what, test.err
		})
		if !errors.Is(err, late) || test.err != nil && !errors.Is(err, test.err) || err.Error() != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

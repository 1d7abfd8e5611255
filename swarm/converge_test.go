package swarm

import (
	"errors"
	"strings"
	"testing"
	"time"

	api "github.com/docker/docker/api/types/swarm"
)

func task(id string, state, desired api.TaskState, err string) api.Task {
	return api.Task{ID: id, DesiredState: desired, Status: api.TaskStatus{State: state, Err: err, Timestamp: time.Unix(1e9, 0)}}
}

// A task that just found no node may find one in a moment; one that found none
// for long will not.
func TestATaskWithoutANodeIsWaitedForAWhile(t *testing.T) {
	homeless := []api.Task{
		task("a", api.TaskStateRunning, api.TaskStateRunning, ""),
		task("b", api.TaskStatePending, api.TaskStateRunning, "no suitable node (scheduling constraints not satisfied)"),
	}
	w := &waiting{name: "db0"}
	if err := w.unplaced(homeless); err != nil || w.pending.IsZero() {
		t.Fatalf("at first: %v, since %v", err, w.pending)
	}
	since := w.pending
	if err := w.unplaced(homeless); err != nil || !w.pending.Equal(since) {
		t.Errorf("soon after: %v, since %v", err, w.pending)
	}
	w.pending = time.Now().Add(-placementPatience - time.Second)
	var final *TaskError
	if err := w.unplaced(homeless); !errors.As(err, &final) || final.Service != "db0" || !strings.Contains(final.Reason, "no suitable node") {
		t.Errorf("long after: %v", err)
	}
	if err := w.unplaced(homeless[:1]); err != nil || !w.pending.IsZero() {
		t.Errorf("with a node: %v, since %v", err, w.pending)
	}
}

func TestOnlyATaskThatShouldRunIsMissedByTheScheduler(t *testing.T) {
	for name, other := range map[string]api.Task{
		"one that is shut down":  task("a", api.TaskStatePending, api.TaskStateShutdown, "no suitable node"),
		"one not yet considered": task("a", api.TaskStatePending, api.TaskStateRunning, ""),
		"one that failed":        task("a", api.TaskStateFailed, api.TaskStateShutdown, "no suitable node"),
	} {
		w := &waiting{name: "db0", pending: time.Now().Add(-time.Hour)}
		if err := w.unplaced([]api.Task{other}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Fewer failures than too many, and those of an earlier life, end nothing.
func TestAFewFailuresAreWaitedOut(t *testing.T) {
	w := &waiting{name: "db0", old: map[string]bool{"a": true, "b": true, "c": true}}
	var tasks []api.Task
	for _, id := range []string{"a", "b", "c", "d"} {
		tasks = append(tasks, task(id, api.TaskStateFailed, api.TaskStateShutdown, "task: non-zero exit (1)"))
	}
	tasks = append(tasks, task("e", api.TaskStateRejected, api.TaskStateShutdown, "No such image"), task("f", api.TaskStateRunning, api.TaskStateRunning, ""))
	if err := w.failing(t.Context(), api.Service{}, tasks); err != nil {
		t.Error(err)
	}
}

func TestHasFailed(t *testing.T) {
	for state, want := range map[api.TaskState]bool{
		api.TaskStateFailed: true, api.TaskStateRejected: true,
		api.TaskStateRunning: false, api.TaskStateComplete: false, api.TaskStateShutdown: false, api.TaskStatePreparing: false,
	} {
		if got := hasFailed(task("a", state, api.TaskStateRunning, "")); got != want {
			t.Errorf("%s: %t", state, got)
		}
	}
}

func TestATaskThatMayEndIsTriedAsOftenAsItsPolicySays(t *testing.T) {
	two, many := uint64(2), uint64(20)
	for name, test := range map[string]struct {
		policy   *api.RestartPolicy
		mayEnd   bool
		attempts int
	}{
		"none":                       {nil, false, 3},
		"one that says nothing":      {&api.RestartPolicy{}, false, 3},
		"always":                     {&api.RestartPolicy{Condition: api.RestartPolicyConditionAny, MaxAttempts: &many}, false, 3},
		"once":                       {&api.RestartPolicy{Condition: api.RestartPolicyConditionNone}, true, 1},
		"until it succeeds":          {&api.RestartPolicy{Condition: api.RestartPolicyConditionOnFailure}, true, 3},
		"and at most two times more": {&api.RestartPolicy{Condition: api.RestartPolicyConditionOnFailure, MaxAttempts: &two}, true, 3},
	} {
		task := api.Task{Spec: api.TaskSpec{RestartPolicy: test.policy}, Status: api.TaskStatus{State: api.TaskStateComplete}}
		if mayEnd(task) != test.mayEnd || hasEnded(task) == test.mayEnd || attempts(test.policy) != test.attempts {
			t.Errorf("%s: %t, %d", name, mayEnd(task), attempts(test.policy))
		}
	}
}

func TestTaskErrorIsOneSentence(t *testing.T) {
	for want, e := range map[string]TaskError{
		"service db0 does not come up: No such image":                                   {Service: "db0", Reason: "No such image"},
		"service db0 does not come up: on dev-worker-1: exit 1":                         {Service: "db0", Node: "dev-worker-1", Reason: "exit 1"},
		"service db0 does not come up: on dev-worker-1: exit 1; it said: no disk | bye": {Service: "db0", Node: "dev-worker-1", Reason: "exit 1", Words: "no disk\nbye"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

func TestOverlayAddressIsNotThatOfTheIngress(t *testing.T) {
	attached := func(ingress bool, addresses ...string) api.NetworkAttachment {
		return api.NetworkAttachment{Network: api.Network{Spec: api.NetworkSpec{Ingress: ingress}}, Addresses: addresses}
	}
	for name, test := range map[string]struct {
		legs []api.NetworkAttachment
		want string
	}{
		"on no network":        {nil, ""},
		"on the ingress alone": {[]api.NetworkAttachment{attached(true, "10.0.0.7/24")}, ""},
		"on both":              {[]api.NetworkAttachment{attached(true, "10.0.0.7/24"), attached(false, "10.0.1.9/24")}, "10.0.1.9"},
		"on one not yet given": {[]api.NetworkAttachment{attached(false), attached(false, "10.0.1.9/24")}, "10.0.1.9"},
		"on IPv6":              {[]api.NetworkAttachment{attached(false, "fd00::9/64")}, "fd00::9"},
	} {
		if got := overlayAddress(api.Task{NetworksAttachments: test.legs}); got != test.want {
			t.Errorf("%s: %q, not %q", name, got, test.want)
		}
	}
}

func TestWantedOfAReplicatedServiceIsItsScale(t *testing.T) {
	n, err := (*Engine)(nil).wanted(t.Context(), api.Service{Spec: service()}, nil)
	if n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

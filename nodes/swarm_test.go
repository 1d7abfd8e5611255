package nodes

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"skep/providers"
	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/volume"
)

// retiring notes what is taken out of its databases.
func (v *village) retiring(_ context.Context, node string) error {
	v.note("retire " + shorten(node))
	return nil
}

func TestRemoveOfAWorker(t *testing.T) {
	v := found(t, "m1 w1 w2")
	if err := v.e.Remove(t.Context(), longs("w2"), false, v.retiring); err != nil {
		t.Fatal(err)
	}
	v.has("retire w2", "drain w2", "leave w2", "delete w2", "strike w2")
}

// One that goes while it is a manager takes its vote with it: of two the other
// would have no quorum for good.
func TestRemoveOfAManagerWaitsForItsDemotion(t *testing.T) {
	v := found(t, "m1 m2")
	v.stays = 3
	if err := v.e.Remove(t.Context(), longs("m1"), false, v.retiring); err != nil {
		t.Fatal(err)
	}
	v.has("retire m1", "drain m1", "make m1 a worker", "demoted m1", "leave m1", "delete m1", "strike m1")
}

// The order was given, and whoever gave it was interrupted.
func TestRemoveWaitsForADemotionThatIsUnderWay(t *testing.T) {
	v := found(t, "m1 m2")
	v.stays = 3
	v.members[0].Spec.Role = api.NodeRoleWorker
	if err := v.e.Remove(t.Context(), longs("m1"), false, v.retiring); err != nil {
		t.Fatal(err)
	}
	v.has("retire m1", "drain m1", "demoted m1", "leave m1", "delete m1", "strike m1")
}

// In another order the last of the others could lose its quorum half way.
func TestRemoveTakesWhatIsOutOfReachBeforeWhatIsWell(t *testing.T) {
	v := found(t, "m1 m2 m3-")
	v.d.machines[2].Running = false
	v.members[2].Status.State = api.NodeStateDown
	if err := v.e.Remove(t.Context(), longs("m2 m3"), true, v.retiring); err != nil {
		t.Fatal(err)
	}
	v.has("retire m3", "make m3 a worker", "demoted m3", "delete m3", "strike m3",
		"retire m2", "drain m2", "make m2 a worker", "demoted m2", "leave m2", "delete m2", "strike m2")
}

func TestRemoveOfSeveralTakesWorkersFirst(t *testing.T) {
	v := found(t, "m1 m2 w1 w2")
	if err := v.e.Remove(t.Context(), longs("m2 w2 w2 w1"), false, v.retiring); err != nil {
		t.Fatal(err)
	}
	v.has(
		"retire w2", "drain w2", "leave w2", "delete w2", "strike w2",
		"retire w1", "drain w1", "leave w1", "delete w1", "strike w1",
		"retire m2", "drain m2", "make m2 a worker", "demoted m2", "leave m2", "delete m2", "strike m2",
	)
}

// A dead machine does not answer: the swarm and the driver do without it.
func TestRemoveOfADeadMachine(t *testing.T) {
	v := found(t, "m1 m2 m3-")
	v.d.machines[2].Running = false
	v.members[2].Status.State = api.NodeStateDown
	if err := v.e.Remove(t.Context(), longs("m3"), true, v.retiring); err != nil {
		t.Fatal(err)
	}
	v.has("retire m3", "make m3 a worker", "demoted m3", "delete m3", "strike m3")
}

func TestRemoveTouchesNothingThatItRefuses(t *testing.T) {
	held := errors.New("w1 holds the only copy")
	for name, test := range map[string]struct {
		short, going string
		volumes      []volume.Volume
		retire       error
		want         string
	}{
		"a quorum":           {"m1 m2 m3-", "m2", nil, nil, "without dev-manager-2 only 1 of 2"},
		"data":               {"m1 w1", "w1", []volume.Volume{{Name: "rqlitedata", Labels: map[string]string{swarm.LabelStack: "rqlite"}}}, nil, "dev-worker-1 holds data of rqlite (volume rqlitedata)"},
		"what will not part": {"m1 w1", "w1", []volume.Volume{{Name: "cache"}}, held, held.Error()},
	} {
		v := found(t, test.short)
		v.volumes[long("w1")] = test.volumes
		err := v.e.Remove(t.Context(), longs(test.going), false, func(context.Context, string) error { return test.retire })
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v", name, err)
		}
		v.has()
	}
}

func TestRemoveLosesDataWhereItIsTold(t *testing.T) {
	v := found(t, "m1 w1")
	v.volumes[long("w1")] = []volume.Volume{{Name: "rqlitedata", Labels: map[string]string{swarm.LabelStack: "rqlite"}}}
	err := v.e.Remove(t.Context(), longs("w1"), true, func(context.Context, string) error { return errors.New("no quorum") })
	if err != nil {
		t.Fatal(err)
	}
	v.has("drain w1", "leave w1", "delete w1", "strike w1")
}

func TestListIsWhatTheSwarmSays(t *testing.T) {
	v := found(t, "m1 w1 w2")
	v.members[0].ManagerStatus.Leader = true
	v.members[1].Status.State = api.NodeStateDown
	v.members[1].Description.Engine.EngineVersion = "20.10.24"
	v.members = v.members[:2] // w2 never joined
	rows, err := v.e.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		line := shorten(r.Name) + " " + r.Status + " " + r.Swarm + " " + r.Engine
		if r.Leader {
			line += "leader"
		}
		got = append(got, line)
	}
	if want := []string{"m1 running ready leader", "w1 running down 20.10.24", "w2 running none "}; !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
}

func TestLookTellsFinishedFromReady(t *testing.T) {
	v := found(t, "m1 w1 w2 w3")
	v.members[1].Status.State = api.NodeStateDown
	v.members[2].Spec.Labels = nil // killed before it was labelled
	v.members = v.members[:3]
	was, err := v.e.look(t.Context(), v.d.machines)
	if err != nil || was.manager == nil || was.manager.Node() != long("m1") {
		t.Fatalf("%+v, %v", was, err)
	}
	for name, want := range map[string][2]bool{"m1": {true, true}, "w1": {true, false}, "w2": {false, true}, "w3": {false, false}} {
		if got := [2]bool{was.finished[long(name)], was.ready[long(name)]}; got != want {
			t.Errorf("%s: finished and ready: %v, not %v", name, got, want)
		}
	}
}

// A manager's machine whose engine is none says nothing of the swarm that the
// others have, and is not waited for.
func TestLookFindsTheManagerThatWorks(t *testing.T) {
	for _, broken := range []api.Info{
		{LocalNodeState: api.LocalNodeStateActive}, // a worker by now
		{LocalNodeState: api.LocalNodeStateActive, ControlAvailable: true, Error: "no leader"},
		{LocalNodeState: api.LocalNodeStateLocked, ControlAvailable: true},
		{LocalNodeState: api.LocalNodeStateInactive},
	} {
		v := found(t, "m1 m2 w1")
		v.says("m1", broken)
		was, err := v.e.look(t.Context(), v.d.machines)
		if err != nil || was.manager == nil || was.manager.Node() != long("m2") || !was.finished[long("w1")] {
			t.Errorf("beside %+v: %+v, %v", broken, was, err)
		}
	}
}

// A worker that is in a swarm has one somewhere: a new one beside it would
// cost what runs there.
func TestLookRefusesWorkersWhoseManagersAreGone(t *testing.T) {
	v := found(t, "m1 w1 w2")
	v.says("m1", api.Info{LocalNodeState: api.LocalNodeStateInactive})
	if _, err := v.e.look(t.Context(), v.d.machines); err == nil || !strings.Contains(err.Error(), "dev-worker-1, dev-worker-2 belong to a swarm whose managers are gone") {
		t.Errorf("error %v", err)
	}
	v.says("w1", api.Info{LocalNodeState: api.LocalNodeStateInactive})
	v.says("w2", api.Info{LocalNodeState: api.LocalNodeStateInactive})
	if was, err := v.e.look(t.Context(), v.d.machines); err != nil || was.manager != nil {
		t.Errorf("in no swarm, any of them: %+v, %v", was, err)
	}
}

// Machines that joined are members: taken away as they are they would be
// counted as lost.
func TestRollbackTakesWhatJoinedOutOfTheSwarm(t *testing.T) {
	v := found(t, "m1 m2 w1")
	v.stays = 2
	before := v.d.machines[:1:1]
	was, err := v.e.look(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	specs := []providers.Spec{
		{Env: "dev", Name: long("m2"), Role: providers.Manager, Driver: "fake"}, {Env: "dev", Name: long("w1"), Role: providers.Worker, Driver: "fake"},
	}
	if err := v.e.rollback(t.Context(), specs, before, was); err != nil {
		t.Fatal(err)
	}
	v.has("leave w1", "make m2 a worker", "demoted m2", "leave m2", "delete w1", "delete m2", "strike w1", "strike m2")
}

// What somebody else has made meanwhile is theirs; what is in no list may still
// come.
func TestRollbackTakesBackWhatWasAskedForAlone(t *testing.T) {
	v := found(t, "m1 w1 w2")
	v.stays = 1
	before := v.d.machines[:1:1]
	was, err := v.e.look(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	specs := []providers.Spec{
		{Env: "dev", Name: long("w1"), Role: providers.Worker, Driver: "fake"}, {Env: "dev", Name: long("w3"), Role: providers.Worker, Driver: "fake"},
	}
	if err := v.e.rollback(t.Context(), specs, before, was); err != nil {
		t.Fatal(err)
	}
	v.has("leave w1", "delete w3", "delete w1", "strike w1")
}

func TestManagerIsOneThatWorks(t *testing.T) {
	v := found(t, "m1 m2 m3 w1")
	v.says("m1", api.Info{LocalNodeState: api.LocalNodeStateActive, ControlAvailable: true, Error: "no leader"})
	v.says("m2", api.Info{LocalNodeState: api.LocalNodeStateInactive})
	engine, err := v.e.Manager(t.Context())
	if err != nil || engine.Node() != long("m3") {
		t.Fatalf("%v, %v", engine, err)
	}
	v.says("m3", api.Info{LocalNodeState: api.LocalNodeStateActive})
	other, _ := environment(t, v.d)
	other.Home = v.e.Home
	_, err = other.Manager(t.Context())
	for _, words := range []string{"no manager of dev answers", "dev-manager-1: no leader", "dev-manager-2 is in no swarm", "dev-manager-3 is no working manager"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
}

func TestEnginesAreThoseThatAnswer(t *testing.T) {
	v := found(t, "m1 w1 w2 w3")
	v.d.machines[1].Running = false
	v.d.machines[2].SSH.Address = "127.0.0.1:1"
	engines, err := v.e.Engines(t.Context())
	if err != nil || len(engines) != 2 || engines[0].Node() != long("m1") || engines[1].Node() != long("w3") {
		t.Fatalf("%v, %v", engines, err)
	}
	again, err := v.e.Engine(t.Context(), long("w3"))
	if err != nil || again != engines[1] {
		t.Errorf("connected a second time: %v", err)
	}
}

package swarm

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	api "github.com/docker/docker/api/types/swarm"

	"skep/tunnel"
)

// reported is a report of tasks of the service web, one a node.
func reported(tasks ...api.Task) report {
	r := report{manager: "dev-manager-1", tasks: tasks}
	s := api.Service{ID: "s1"}
	s.Spec.Name = "web"
	r.services = []api.Service{s}
	for _, id := range []string{"n1", "n2", "n3"} {
		n := api.Node{ID: id}
		n.Description.Hostname = "dev-" + id
		r.nodes = append(r.nodes, n)
	}
	return r
}

func on(node, container string, state, desired api.TaskState) api.Task {
	t := task("t-"+container, state, desired, "")
	t.ServiceID, t.NodeID = "s1", node
	t.Status.ContainerStatus = &api.ContainerStatus{ContainerID: container}
	return t
}

func containers(tasks []*living) []string {
	var ids []string
	for _, t := range tasks {
		ids = append(ids, t.Container)
	}
	slices.Sort(ids)
	return ids
}

func TestSnapshotFollowsTheTasks(t *testing.T) {
	running, shutdown := api.TaskStateRunning, api.TaskStateShutdown
	first, different := snapshot{}.next(t.Context(), reported(on("n1", "a", running, running), on("n2", "b", running, running), on("n3", "c", api.TaskStateStarting, running)), nil)
	if got := containers(first.open("web")); !different || !slices.Equal(got, []string{"a", "b"}) || !first.services["web"] || len(first.open("db")) != 0 {
		t.Fatalf("open at first: %v", got)
	}
	same, different := first.next(t.Context(), reported(on("n1", "a", running, running), on("n2", "b", running, running)), nil)
	if different || same.tasks["a"] != first.tasks["a"] {
		t.Error("the same tasks are others")
	}
	// One is told to end and still serves what it has; the other one's
	// container died, which the manager does not know yet; a third is new.
	next, different := same.next(t.Context(), reported(on("n1", "a", running, shutdown), on("n2", "b", running, running), on("n3", "c", running, running)), map[string]bool{"b": true})
	if got := containers(next.open("web")); !different || !slices.Equal(got, []string{"c"}) {
		t.Errorf("open: %v", got)
	}
	if first.tasks["a"].ctx.Err() != nil {
		t.Error("a task that is to end has ended")
	}
	if first.tasks["b"].ctx.Err() == nil {
		t.Error("a task that died lives")
	}
	last, different := next.next(t.Context(), reported(), nil)
	if !different || len(last.tasks) != 0 || next.tasks["c"].ctx.Err() == nil || next.tasks["a"].ctx.Err() == nil {
		t.Error("tasks outlive their service")
	}
}

func TestOrderOfTasks(t *testing.T) {
	f := Follow(t.Context(), nil, slog.New(slog.DiscardHandler))
	defer f.Close()
	// No connection is to be had: all nodes are doubtful, as good as each other.
	f.pools = map[string]*tunnel.Pool{}
	for _, node := range []string{"dev-n1", "dev-n2"} {
		f.pools[node] = tunnel.NewPool(f.ctx, node, func(ctx context.Context) (*tunnel.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, f.log)
	}
	busy := &living{Task: Task{Container: "busy", Node: "dev-n1"}}
	busy.load.Store(3)
	idle := &living{Task: Task{Container: "idle", Node: "dev-n2"}}
	for range 20 {
		if got := f.order([]*living{busy, idle}); got[0] != idle {
			t.Fatal("the busy one comes first")
		}
	}
}

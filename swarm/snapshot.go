package swarm

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	api "github.com/docker/docker/api/types/swarm"
)

const (
	// So long a task that a dial failed at is the last to be tried.
	failedFor = 3 * time.Second
	// Nodes that differ by less are equally near.
	nearBy = 3 * time.Millisecond
)

// snapshot is what a manager said last of services and their tasks.
type snapshot struct {
	services map[string]bool    // those that there are, and their stacks
	tasks    map[string]*living // by container
}

// living is a task whose container lives.
type living struct {
	Task
	stack   string // of its service
	leaving bool   // it is to end, and takes no new connections

	ctx     context.Context // ends with the task
	end     context.CancelFunc
	load    atomic.Int64 // connections to it
	failed  atomic.Int64 // when a dial failed last, 0 after one that did not
	address atomic.Pointer[string]
}

// open are the tasks of a service, or of all services of a stack, that take
// connections: any server of a database does for a page of it.
func (s snapshot) open(name string) []*living {
	var open []*living
	for _, t := range s.tasks {
		if (t.Service == name || t.stack == name) && !t.leaving {
			open = append(open, t)
		}
	}
	return open
}

// report is an answer of a manager's.
type report struct {
	manager  string
	services []api.Service
	tasks    []api.Task
	nodes    []api.Node
}

// next is the snapshot after a report: tasks that live on stay the same values,
// and those that do not have ended. It tells whether anything is different.
func (s snapshot) next(ctx context.Context, r report, dead map[string]bool) (snapshot, bool) {
	hosts, names, stacks := map[string]string{}, map[string]string{}, map[string]string{}
	for _, n := range r.nodes {
		hosts[n.ID] = n.Description.Hostname
	}
	now := snapshot{services: map[string]bool{}, tasks: map[string]*living{}}
	for _, service := range r.services {
		names[service.ID] = service.Spec.Name
		if service.Spec.Labels[LabelAnchor] == "" {
			stacks[service.ID] = service.Spec.Labels[LabelStack]
		}
		now.services[service.Spec.Name] = true
		now.services[stacks[service.ID]] = true
	}
	different := len(now.services) != len(s.services)
	for _, t := range r.tasks {
		if t.Status.State != api.TaskStateRunning || t.Status.ContainerStatus == nil {
			continue
		}
		id := t.Status.ContainerStatus.ContainerID
		if dead[id] || hosts[t.NodeID] == "" || names[t.ServiceID] == "" {
			continue
		}
		l := s.tasks[id]
		leaving := t.DesiredState != api.TaskStateRunning
		if l == nil {
			l = &living{stack: stacks[t.ServiceID], Task: Task{ID: t.ID, Service: names[t.ServiceID], Container: id, Node: hosts[t.NodeID], Address: overlayAddress(t)}}
			l.ctx, l.end = context.WithCancel(ctx)
			different = true
		}
		different = different || l.leaving != leaving
		l.leaving = leaving
		now.tasks[id] = l
	}
	for id, l := range s.tasks {
		if now.tasks[id] == nil {
			l.end()
			different = true
		}
	}
	return now, different
}

// order puts tasks in the order in which they are to be tried: those of nodes
// that answer before others, near ones before far ones, and among equals those
// with the fewest connections.
func (f *Follower) order(tasks []*living) []*living {
	if len(tasks) == 1 {
		return tasks
	}
	type place struct {
		*living
		doubtful bool
		distance time.Duration
		load     int64
		dice     uint32
	}
	places := make([]place, len(tasks))
	nearest := time.Duration(0)
	for i, t := range tasks {
		pool := f.pool(t.Node)
		recently := time.Since(time.Unix(0, t.failed.Load())) < failedFor
		places[i] = place{t, recently || pool.Doubtful(), pool.RTT(), t.load.Load(), rand.Uint32()} // #nosec G404 -- no secret
		if d := places[i].distance; d > 0 && (nearest == 0 || d < nearest) {
			nearest = d
		}
	}
	for i := range places {
		if places[i].distance <= nearest*3/2+nearBy {
			places[i].distance = 0 // as near as any, or never measured
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		if a.doubtful != b.doubtful {
			if b.doubtful {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.load, b.load), cmp.Compare(a.dice, b.dice))
	})
	ordered := make([]*living, len(places))
	for i, p := range places {
		ordered[i] = p.living
	}
	return ordered
}

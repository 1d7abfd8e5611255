package services

import (
	"context"
	"fmt"
	"slices"

	"skep/swarm"
)

// pruneRqlite takes members out of the cluster that do not run and that no node
// is going to bring back: those of nodes that were removed while nobody could be
// asked, and of readers whose node has a voter now.
func (x Executor) pruneRqlite(ctx context.Context, manager *swarm.Engine, c RqliteCluster) error {
	if c.Mode == RqliteService {
		return nil // those take themselves out: see rqlite4.sh
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return err
	}
	var expected []string
	for _, n := range members {
		switch {
		case n.Spec.Labels[c.label()] == "":
			expected = append(expected, c.id(c.reader(), n.Description.Hostname))
		case c.Mode == RqliteBootstrap:
			expected = append(expected, c.voterOf(n))
		default:
			expected = append(expected, c.id(c.service(), n.Description.Hostname))
		}
	}
	tasks, err := x.rqliteTasks(ctx, manager, c)
	if err != nil || len(tasks) == 0 {
		return err
	}
	view, err := x.rqliteView(ctx, tasks[0])
	if err != nil {
		return err
	}
	for _, t := range tasks {
		expected = append(expected, c.id(t.Service, t.Node))
	}
	for id := range view {
		if slices.Contains(expected, id) {
			continue
		}
		if err := x.removeMember(ctx, tasks[0], map[string]string{"id": id}); err != nil {
			return fmt.Errorf("take %s out of %s: %w", id, c.stack(), err)
		}
		x.Log.Info("taken " + id + " out of " + c.stack() + ", which is to run nowhere")
	}
	return nil
}

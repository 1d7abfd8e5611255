package services

import (
	"context"
	"fmt"
	"strings"

	"skep/swarm"
)

// Retire takes a node's database servers out of their clusters, before the node
// itself goes: a cluster counts members that were not taken out as lost, and
// with enough of them has no quorum any more.
func (x Executor) Retire(ctx context.Context, node string) error {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return err
	}
	stacks, err := manager.Stacks(ctx)
	if err != nil {
		return err
	}
	for _, stack := range stacks {
		name, named := strings.CutPrefix(stack, rqliteName+" ")
		if stack == rqliteName {
			name, named = "", true
		}
		if !named {
			continue
		}
		if err := x.retireRqlite(ctx, manager, name, node); err != nil {
			return fmt.Errorf("take %s out of %s: %w", node, stack, err)
		}
	}
	return nil
}

func (x Executor) retireRqlite(ctx context.Context, manager *swarm.Engine, name, node string) error {
	c, err := x.existingRqlite(ctx, manager, name)
	if err != nil {
		return err
	}
	tasks, err := x.rqliteTasks(ctx, manager, c)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if t.Node != node {
			continue
		}
		if err := x.leaveRqlite(ctx, manager, c, t.Service, node); err != nil {
			return err
		}
		x.Log.Info("taken out of "+c.stack(), "node", node)
	}
	return nil
}

package services

import (
	"context"
)

// Rqlite fills in what the stack has to know of the environment: how many
// servers there are, which an existing cluster keeps.
func (x Executor) Rqlite(ctx context.Context, image string) (Stack, error) {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return Stack{}, err
	}
	if kept, ok := manager.Variable(ctx, rqliteName, expectVariable); ok {
		return Rqlite(image, kept), nil
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return Stack{}, err
	}
	able := 0
	for _, n := range members {
		if takesTasks(n) {
			able++
		}
	}
	return Rqlite(image, voters(able)), nil
}

// voters is the best number of servers for a quorum: 1, 3 or 5.
func voters(nodes int) int {
	switch {
	case nodes >= 5:
		return 5
	case nodes >= 3:
		return 3
	}
	return 1
}

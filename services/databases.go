package services

import (
	"context"
	"fmt"
	"slices"

	"skep/usage"
)

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

// Rethink is the stack with so many joiners, 0 for as many as there are, one at
// least. It refuses to take any away: nobody has looked whether a table has its
// only replica there.
func (x Executor) Rethink(ctx context.Context, image string, joiners int) (Stack, error) {
	if joiners < 0 {
		return Stack{}, usage.Errorf("the number of joiners cannot be negative")
	}
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return Stack{}, err
	}
	existing, err := manager.StackServices(ctx, rethinkName)
	if err != nil {
		return Stack{}, err
	}
	if joiners == 0 {
		joiners = max(len(existing)-1, 1)
	}
	stack := Rethink(image, joiners)
	for _, name := range existing {
		known := slices.ContainsFunc(stack.Ready, func(p Probe) bool { return p.Service == name })
		if !known {
			return Stack{}, fmt.Errorf("%s runs already and -n %d would not have it: servers are not taken away while a table may have its only replica there", name, joiners)
		}
	}
	return stack, nil
}

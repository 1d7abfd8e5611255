package swarm

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	api "github.com/docker/docker/api/types/swarm"
)

// Unlabel takes a label from a member.
func (e *Engine) Unlabel(ctx context.Context, id, label string) error {
	return e.changeMember(ctx, id, func(spec *api.NodeSpec) bool {
		_, has := spec.Labels[label]
		delete(spec.Labels, label)
		return has
	})
}

// RemoveVolume removes one volume from this node, with its data, once nothing
// runs on it. Containers of tasks that ended go first: the swarm keeps them for
// a while, and they the volume.
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	return poll(ctx, func() (string, error) {
		ended, err := e.ContainerList(ctx, container.ListOptions{All: true, Filters: filter("volume", name)})
		if err != nil {
			return "", fmt.Errorf("look for the users of volume %s on %s: %s", name, e.Node(), brief(err))
		}
		for _, c := range ended {
			if c.State == container.StateRunning {
				return fmt.Sprintf("a container on %s still runs on volume %s", e.Node(), name), nil
			}
			if err := e.ContainerRemove(ctx, c.ID, container.RemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
				return "", fmt.Errorf("remove an ended container on %s: %s", e.Node(), brief(err))
			}
		}
		if err := e.VolumeRemove(ctx, name, false); err != nil && !errdefs.IsNotFound(err) {
			return "", fmt.Errorf("remove volume %s on %s: %s", name, e.Node(), brief(err))
		}
		return "", nil
	})
}

// Stacks lists the stacks that have services.
func (e *Engine) Stacks(ctx context.Context) ([]string, error) {
	found, err := e.ServiceList(ctx, api.ServiceListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list services: %s", brief(err))
	}
	var names []string
	for _, s := range found {
		if name := s.Spec.Labels[LabelStack]; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/volume"
)

func ofStack(stack string) filters.Args { return filter("label", LabelStack+"="+stack) }

// StackServices lists the services of a stack by name.
func (e *Engine) StackServices(ctx context.Context, stack string) ([]string, error) {
	found, err := e.ServiceList(ctx, api.ServiceListOptions{Filters: ofStack(stack)})
	if err != nil {
		return nil, fmt.Errorf("list the services of %s: %s", stack, brief(err))
	}
	var names []string
	for _, s := range found {
		names = append(names, s.Spec.Name)
	}
	slices.Sort(names)
	return names, nil
}

// RemoveStack removes a stack's services, waits for their tasks to be gone, and
// removes its networks that nothing else uses.
func (e *Engine) RemoveStack(ctx context.Context, stack string) ([]string, error) {
	names, err := e.StackServices(ctx, stack)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, name := range names {
		s, err := e.Service(ctx, name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, s.ID)
		if err := e.ServiceRemove(ctx, s.ID); err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("remove service %s: %s", name, brief(err))
		}
	}
	err = poll(ctx, func() (string, error) {
		tasks, err := e.TaskList(ctx, api.TaskListOptions{})
		if err != nil {
			return "", err
		}
		for _, t := range tasks {
			if slices.Contains(ids, t.ServiceID) {
				return "a task of " + stack + " is still there", nil
			}
		}
		return "", nil
	})
	if err != nil {
		return nil, err
	}
	networks, err := e.NetworkList(ctx, network.ListOptions{Filters: ofStack(stack)})
	if err != nil {
		return nil, fmt.Errorf("list the networks of %s: %s", stack, brief(err))
	}
	for _, n := range networks {
		// Another stack may be on it; then it stays.
		if err := e.NetworkRemove(ctx, n.ID); err != nil && !errdefs.IsNotFound(err) && !strings.Contains(err.Error(), "in use") {
			return nil, fmt.Errorf("remove network %s: %s", n.Name, brief(err))
		}
	}
	return names, nil
}

// RemoveVolumes removes a stack's volumes from this node, with their data.
func (e *Engine) RemoveVolumes(ctx context.Context, stack string) error {
	found, err := e.VolumeList(ctx, volume.ListOptions{Filters: ofStack(stack)})
	if err != nil {
		return fmt.Errorf("list the volumes of %s on %s: %s", stack, e.Node(), brief(err))
	}
	var errs []error
	for _, v := range found.Volumes {
		errs = append(errs, poll(ctx, func() (string, error) {
			err := e.VolumeRemove(ctx, v.Name, false)
			if err == nil || errdefs.IsNotFound(err) {
				return "", nil
			}
			// Its container takes a moment to go after its task.
			return "", fmt.Errorf("remove volume %s on %s: %s", v.Name, e.Node(), brief(err))
		}))
	}
	return errors.Join(errs...)
}

// Wanted is the number of tasks that the service should have; none for a
// service that does not exist. A global one wants one on each node that takes
// tasks, whether that node is up or not: the engine counts only those it has
// made so far.
func (e *Engine) Wanted(ctx context.Context, service string) (int, error) {
	s, err := e.Service(ctx, service)
	if errdefs.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return e.wanted(ctx, s, func(api.Node) bool { return true })
}

func (e *Engine) wanted(ctx context.Context, s api.Service, counts func(api.Node) bool) (int, error) {
	if r := s.Spec.Mode.Replicated; r != nil && r.Replicas != nil {
		return int(*r.Replicas), nil // #nosec G115 -- a number of tasks
	}
	members, err := e.Members(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, m := range members {
		if m.Spec.Availability == api.NodeAvailabilityActive && placed(s.Spec.TaskTemplate.Placement, m) && counts(m) {
			n++
		}
	}
	return n, nil
}

// placed says whether a node has the labels that a placement asks for, in the
// two forms that skep's own stacks use: node.labels.NAME==VALUE, and != for it.
func placed(p *api.Placement, n api.Node) bool {
	if p == nil {
		return true
	}
	for _, c := range p.Constraints {
		label, value, ok := strings.Cut(strings.TrimPrefix(c, "node.labels."), "==")
		if ok && n.Spec.Labels[label] != value {
			return false
		}
		label, value, ok = strings.Cut(strings.TrimPrefix(c, "node.labels."), "!=")
		if ok && n.Spec.Labels[label] == value {
			return false
		}
	}
	return true
}

// Variable reads a number from the environment of an existing service.
func (e *Engine) Variable(ctx context.Context, service, name string) (int, bool) {
	s, err := e.Service(ctx, service)
	if err != nil {
		return 0, false
	}
	for _, v := range s.Spec.TaskTemplate.ContainerSpec.Env {
		if text, is := strings.CutPrefix(v, name+"="); is {
			n, err := strconv.Atoi(text)
			return n, err == nil
		}
	}
	return 0, false
}

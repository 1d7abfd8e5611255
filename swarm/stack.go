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

// StackServices lists the services of a stack by name, all but its anchors.
func (e *Engine) StackServices(ctx context.Context, stack string) ([]string, error) {
	found, err := e.stackServices(ctx, stack)
	var names []string
	for _, s := range found {
		if s.Spec.Labels[LabelAnchor] == "" {
			names = append(names, s.Spec.Name)
		}
	}
	slices.Sort(names)
	return names, err
}

// LastDeploy is the number of the stack's last deploy, 0 where it has none.
func (e *Engine) LastDeploy(ctx context.Context, stack string) (int, error) {
	found, err := e.stackServices(ctx, stack)
	last := 0
	for _, s := range found {
		last = max(last, DeployOf(s.Spec))
	}
	return last, err
}

func (e *Engine) stackServices(ctx context.Context, stack string) ([]api.Service, error) {
	found, err := e.ServiceList(ctx, api.ServiceListOptions{Filters: ofStack(stack)})
	if err != nil {
		return nil, fmt.Errorf("list the services of %s: %s", stack, brief(err))
	}
	return found, nil
}

// RemoveStack removes a stack's services, waits for their tasks to be gone, and
// removes its networks that nothing else uses.
func (e *Engine) RemoveStack(ctx context.Context, stack string) ([]string, error) {
	found, err := e.stackServices(ctx, stack)
	if err != nil {
		return nil, err
	}
	var names, ids []string
	for _, s := range found {
		names, ids = append(names, s.Spec.Name), append(ids, s.ID)
		if err := e.ServiceRemove(ctx, s.ID); err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("remove service %s: %s", s.Spec.Name, brief(err))
		}
	}
	slices.Sort(names)
	err = poll(ctx, func() (string, error) {
		tasks, err := e.TaskList(ctx, api.TaskListOptions{})
		if err != nil {
			return "", err
		}
		members, err := e.Members(ctx)
		if err != nil {
			return "", err
		}
		for _, t := range tasks {
			// One of a service that was removed before counts, too; one of a node that is
			// gone will stay for a day.
			c := t.Spec.ContainerSpec
			mine := slices.Contains(ids, t.ServiceID) || c != nil && c.Labels[LabelStack] == stack
			gone := slices.ContainsFunc(members, func(n api.Node) bool { return n.ID == t.NodeID && !Ready(n) })
			if mine && !gone {
				return "a task of " + stack + " is still there", nil
			}
		}
		return "", nil
	})
	if err != nil {
		return nil, err
	}
	return names, e.removeNetworks(ctx, stack)
}

// removeNetworks removes the networks of a stack that nothing else uses, and
// returns once this engine has forgotten them: one that it still knows is taken
// for one that is there.
func (e *Engine) removeNetworks(ctx context.Context, stack string) error {
	networks, err := e.NetworkList(ctx, network.ListOptions{Filters: ofStack(stack)})
	if err != nil {
		return fmt.Errorf("list the networks of %s: %s", stack, brief(err))
	}
	for _, n := range networks {
		err := e.NetworkRemove(ctx, n.ID)
		if err != nil && strings.Contains(err.Error(), "in use") {
			continue // another stack is on it
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove network %s: %s", n.Name, brief(err))
		}
		err = poll(ctx, func() (string, error) {
			_, err := e.NetworkInspect(ctx, n.ID, network.InspectOptions{})
			if errdefs.IsNotFound(err) {
				return "", nil
			}
			return "it is still there", err
		})
		if err != nil {
			return fmt.Errorf("remove network %s: %w", n.Name, err)
		}
	}
	return nil
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

// placed says whether a node meets what a placement asks for.
func placed(p *api.Placement, n api.Node) bool { return p == nil || Meets(p.Constraints, n) }

// Meets says whether a node meets all of Docker's placement constraints, each
// NAME==VALUE or NAME!=VALUE.
func Meets(constraints []string, n api.Node) bool {
	for _, c := range constraints {
		name, value, equal := strings.Cut(c, "==")
		if !equal {
			name, value, _ = strings.Cut(c, "!=")
		}
		is := strings.EqualFold(property(strings.TrimSpace(name), n), strings.TrimSpace(value))
		if is != equal {
			return false
		}
	}
	return true
}

// property is what a constraint's name means of a node.
func property(name string, n api.Node) string {
	if label, ok := strings.CutPrefix(name, "node.labels."); ok {
		return n.Spec.Labels[label]
	}
	if label, ok := strings.CutPrefix(name, "engine.labels."); ok {
		return n.Description.Engine.Labels[label]
	}
	switch name {
	case "node.id":
		return n.ID
	case "node.hostname":
		return n.Description.Hostname
	case "node.role":
		return string(n.Spec.Role)
	case "node.platform.os":
		return n.Description.Platform.OS
	case "node.platform.arch":
		return n.Description.Platform.Architecture
	}
	return ""
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

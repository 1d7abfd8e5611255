package services

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"skep/swarm"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
)

// deployTimeout is how long a stack may take to come up.
const (
	deployTimeout   = 5 * time.Minute
	takeBackTimeout = 30 * time.Second
)

// Environment is where stacks are deployed.
type Environment interface {
	swarm.Fleet
	// Engines are those of all nodes that run and answer.
	Engines(ctx context.Context) ([]*swarm.Engine, error)
	// Lock keeps others from changing the environment until unlock.
	Lock(ctx context.Context) (unlock func(), err error)
}

// Executor deploys stacks to one environment.
type Executor struct {
	Env Environment
	// Local gives the engine of this computer, a source of images. It need not
	// be there.
	Local func() (*client.Client, error)
	Log   *slog.Logger
}

// Deploy brings the swarm to what the stack says: what is there already and
// right is left alone. It returns when every task serves. Where it fails, the
// services that it created are removed again; data is never touched.
func (x Executor) Deploy(ctx context.Context, stack Stack) error {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return err
	}
	unlock, err := x.Env.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := x.raise(ctx, stack); err != nil {
		return err
	}
	if err := x.shipSelf(ctx, manager, &stack); err != nil {
		return err
	}
	images, err := x.ship(ctx, manager, stack)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, deployTimeout, fmt.Errorf("%s was not up within %s", stack.Name, deployTimeout))
	defer cancel()
	for _, name := range stack.Networks {
		if err := manager.EnsureNetwork(ctx, name, map[string]string{swarm.LabelStack: stack.Name}); err != nil {
			return err
		}
	}
	for _, pin := range stack.Pins {
		if err := x.pin(ctx, manager, pin); err != nil {
			return err
		}
	}
	created, err := x.apply(ctx, manager, stack, images)
	if err == nil {
		err = x.waitReady(ctx, manager, stack.Ready)
	}
	if err != nil {
		return errors.Join(err, x.takeBack(ctx, manager, created))
	}
	return nil
}

// apply creates or updates the services in order and says which it created.
func (x Executor) apply(ctx context.Context, manager *swarm.Engine, stack Stack, images map[string]string) (created []string, err error) {
	for _, spec := range stack.Services {
		c := *spec.TaskTemplate.ContainerSpec
		c.Image = images[c.Image]
		spec.TaskTemplate.ContainerSpec = &c
		change, err := manager.Apply(ctx, spec)
		if err != nil {
			return created, err
		}
		if change == swarm.Created {
			created = append(created, spec.Name)
		}
		x.Log.Info("service " + spec.Name + " " + string(change))
		if err := manager.Converge(ctx, spec.Name, change, stack.Settle); err != nil {
			return created, err
		}
	}
	return created, nil
}

// takeBack removes services, even after Ctrl-C.
func (x Executor) takeBack(ctx context.Context, manager *swarm.Engine, created []string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTimeout)
	defer cancel()
	var errs []error
	for _, name := range created {
		x.Log.Info("taking service " + name + " back")
		errs = append(errs, manager.RemoveService(ctx, name))
	}
	return errors.Join(errs...)
}

// takesTasks says whether the scheduler gives the node any.
func takesTasks(n api.Node) bool {
	return swarm.Ready(n) && n.Spec.Availability == api.NodeAvailabilityActive
}

// pin sees to it that the label is on as many nodes as it should be.
func (x Executor) pin(ctx context.Context, manager *swarm.Engine, pin Pin) error {
	members, err := manager.Members(ctx)
	if err != nil {
		return err
	}
	carry := 0
	for _, n := range members {
		if n.Spec.Labels[pin.Label] == pin.value() {
			carry++
		}
	}
	for _, n := range members {
		if carry >= pin.Nodes {
			return nil
		}
		if n.Spec.Labels[pin.Label] != "" || !takesTasks(n) || pin.Managers && n.Spec.Role != api.NodeRoleManager {
			continue
		}
		if err := manager.Label(ctx, n.ID, map[string]string{pin.Label: pin.value()}); err != nil {
			return err
		}
		carry++
	}
	if carry < pin.Nodes {
		return fmt.Errorf("only %d of %d nodes for label %s take tasks", carry, pin.Nodes, pin.Label)
	}
	return nil
}

// hasIPVS says whether every node's kernel can balance virtual addresses, which
// the ingress network and service addresses need.
func hasIPVS(ctx context.Context, engines []*swarm.Engine) (bool, error) {
	for _, e := range engines {
		has, err := e.HasIPVS(ctx)
		if err != nil || !has {
			return false, err
		}
	}
	return true, nil
}

// network checks the one that was named, or finds the databases' own.
func (x Executor) network(ctx context.Context, name string) (string, error) {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return "", err
	}
	found, err := manager.NetworkInspect(ctx, cmp.Or(name, rethinkNetwork), network.InspectOptions{})
	switch {
	case errdefs.IsNotFound(err) && name == "":
		return "", nil
	case errdefs.IsNotFound(err):
		return "", fmt.Errorf("there is no network %s", name)
	case err != nil:
		return "", fmt.Errorf("look for network %s: %w", name, err)
	case found.Scope != "swarm":
		return "", fmt.Errorf("network %s is %s's own, no overlay of the swarm", name, manager.Node())
	}
	return found.Name, nil
}

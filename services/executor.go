package services

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
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
	takeBackTimeout = 2 * time.Minute
)

// Environment is where stacks are deployed.
type Environment interface {
	swarm.Fleet
	// Engines are those of all nodes that run and answer.
	Engines(ctx context.Context) ([]*swarm.Engine, error)
	// UpdateFirewall lets in, on every node, what services publish now.
	UpdateFirewall(ctx context.Context) error
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
	// Progress is told of images on their way; nil is nobody.
	Progress Progress
}

// Deploy brings the swarm to what the stack says: what is there already and
// right is left alone. It returns when every task serves. Where it fails, the
// services that it created are removed again; data is never touched.
func (x Executor) Deploy(ctx context.Context, stack Stack) error {
	_, err := x.deploy(ctx, stack)
	return err
}

// deploy is Deploy, and tells what became of each service.
func (x Executor) deploy(ctx context.Context, stack Stack) (map[string]swarm.Change, error) {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return nil, err
	}
	unlock, err := x.Env.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return x.put(ctx, manager, stack, func(ctx context.Context) error { return x.waitReady(ctx, manager, stack.Ready) })
}

// put is deploy under a lock that is held, with its own idea of when the
// stack is whole.
func (x Executor) put(ctx context.Context, manager *swarm.Engine, stack Stack, whole func(context.Context) error) (map[string]swarm.Change, error) {
	if err := checkOwned(ctx, manager, stack); err != nil {
		return nil, err
	}
	if err := checkKept(ctx, manager, stack); err != nil {
		return nil, err
	}
	if err := x.raise(ctx, stack); err != nil {
		return nil, err
	}
	if err := x.shipSelf(ctx, manager, &stack); err != nil {
		return nil, err
	}
	images, err := x.ship(ctx, manager, stack)
	if err != nil {
		return nil, err
	}
	patience := deployTimeout * time.Duration(max(1, len(stack.Services)))
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s was not up within %s", stack.Name, patience))
	defer cancel()
	if err := x.networks(ctx, manager, stack); err != nil {
		return nil, err
	}
	if stack, err = x.keep(ctx, manager, stack); err != nil {
		return nil, err
	}
	for _, pin := range stack.Pins {
		if err := x.pin(ctx, manager, pin); err != nil {
			return nil, err
		}
	}
	d := deployment{changes: map[string]swarm.Change{}, shrunk: map[string]int{}}
	err = x.apply(ctx, manager, stack, images, whole, d)
	if err == nil {
		err = whole(ctx)
	}
	if err != nil {
		x.tellWords(ctx, err)
		return d.changes, errors.Join(err, x.takeBack(ctx, manager, stack, d, err))
	}
	return d.changes, x.Env.UpdateFirewall(ctx)
}

// deployment is what a deploy did to services, by name.
type deployment struct {
	changes map[string]swarm.Change
	shrunk  map[string]int // the tasks that a service had before it was brought to fewer
}

// checkOwned refuses services that are there already and not the stack's.
func checkOwned(ctx context.Context, manager *swarm.Engine, stack Stack) error {
	var errs []error
	for _, s := range stack.Services {
		errs = append(errs, manager.Owned(ctx, s.Name, stack.Name))
	}
	return errors.Join(errs...)
}

// apply creates or updates the services in order and notes what it did to each.
func (x Executor) apply(ctx context.Context, manager *swarm.Engine, stack Stack, images map[string]source, whole func(context.Context) error, d deployment) error {
	last, err := manager.LastDeploy(ctx, stack.Name)
	if err != nil {
		return err
	}
	for _, spec := range stack.Services {
		c := *spec.TaskTemplate.ContainerSpec
		image := images[c.Image]
		c.Image = image.ref
		spec.TaskTemplate.ContainerSpec = &c
		spec.Labels = maps.Clone(spec.Labels)
		spec.Labels[swarm.LabelDeploy] = strconv.Itoa(last + 1)
		had, err := x.shrink(ctx, manager, spec)
		if had > 0 {
			d.shrunk[spec.Name] = had
		}
		if err != nil {
			return err
		}
		change, err := manager.Apply(ctx, spec, image.auth)
		if err != nil {
			return err
		}
		d.changes[spec.Name] = change
		x.Log.Info("service " + spec.Name + " " + string(change))
		if err := manager.Converge(ctx, spec.Name, change, stack.Settle); err != nil {
			return err
		}
		if stack.InTurn && change == swarm.Updated {
			if err := whole(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeBack removes the services that were created, and puts back the version
// before of those that were updated and are of the kind that the swarm itself
// would put back, with the tasks that they had, even after Ctrl-C.
func (x Executor) takeBack(ctx context.Context, manager *swarm.Engine, stack Stack, d deployment, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTimeout)
	defer cancel()
	var errs []error
	for _, spec := range stack.Services {
		change := d.changes[spec.Name]
		switch {
		case change == swarm.Created && !stack.Stays:
			x.Log.Info("taking service " + spec.Name + " back")
			errs = append(errs, manager.RemoveService(ctx, spec.Name))
		case change == swarm.Updated && swarm.RollsBack(spec) && !putBack(why, spec.Name):
			x.Log.Info("putting the version before of service " + spec.Name + " back")
			errs = append(errs, manager.Rollback(ctx, spec.Name))
		}
		if had := d.shrunk[spec.Name]; had > 0 && (change == "" || change == swarm.Updated && swarm.RollsBack(spec)) {
			_, err := manager.Scale(ctx, spec.Name, had)
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, x.Env.UpdateFirewall(ctx))...)
}

// putBack says whether the swarm has put the version before back already.
func putBack(why error, service string) bool {
	var broken *swarm.TaskError
	return errors.As(why, &broken) && broken.Service == service && broken.RolledBack
}

// tellWords tells what a task that failed wrote last, and what its healthcheck
// did, which the error then says, too.
func (x Executor) tellWords(ctx context.Context, err error) {
	var broken *swarm.TaskError
	if !errors.As(err, &broken) {
		return
	}
	task := broken.Service + "@" + broken.Node
	for line := range strings.SplitSeq(broken.Words, "\n") {
		if line != "" {
			x.Log.Info(line, "node", task)
		}
	}
	if broken.Container == "" {
		return
	}
	if e, err := x.Env.Engine(ctx, broken.Node); err == nil {
		if broken.Health = e.LastHealth(ctx, broken.Container); broken.Health != "" {
			x.Log.Info("its healthcheck failed: "+broken.Health, "node", task)
		}
	}
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

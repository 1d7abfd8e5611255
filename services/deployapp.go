package services

import (
	"context"
	"fmt"
	"slices"

	"skep/images"
	"skep/swarm"
	"skep/usage"

	api "github.com/docker/docker/api/types/swarm"
)

// Deployed tells what a deploy did and where the app answers.
type Deployed struct {
	Change    swarm.Change
	Addresses []string
}

// DeployApp deploys an app and tells where it answers. What cannot work is
// refused before anything is changed. health is a command or a URL, or "".
func (x Executor) DeployApp(ctx context.Context, o AppOptions, health string) (Deployed, error) {
	if err := o.Check(); err != nil {
		return Deployed{}, err
	}
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return Deployed{}, err
	}
	engines, err := x.Env.Engines(ctx)
	if err != nil {
		return Deployed{}, err
	}
	g, err := x.ground(ctx, manager, engines, o)
	if err != nil {
		return Deployed{}, err
	}
	if o.Replicas, err = replicas(ctx, manager, o); err != nil {
		return Deployed{}, err
	}
	if o.Network, err = x.network(ctx, o.Network); err != nil {
		return Deployed{}, err
	}
	if err := x.checkPublished(ctx, manager, engines, o, g); err != nil {
		return Deployed{}, err
	}
	if health != "" {
		probe, err := x.imageLabel(ctx, manager, o, images.ProbeLabel)
		if err != nil {
			return Deployed{}, err
		}
		if o.Health, err = ParseHealth(health, probe); err != nil {
			return Deployed{}, err
		}
	}
	changes, err := x.deploy(ctx, App(o, g))
	if err != nil {
		return Deployed{}, err
	}
	addresses, err := x.published(ctx, manager, o, g)
	return Deployed{changes[o.Name], addresses}, err
}

// ground looks at what decides the app's layout.
func (x Executor) ground(ctx context.Context, manager *swarm.Engine, engines []*swarm.Engine, o AppOptions) (Ground, error) {
	ipvs, err := hasIPVS(ctx, engines)
	if err != nil {
		return Ground{}, err
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return Ground{}, err
	}
	g := Ground{IPVS: ipvs, HostPorts: !ipvs}
	for _, n := range members {
		if takesTasks(n) && swarm.Meets(o.Placement.Constraints, n) {
			g.Nodes++
		}
	}
	if g.Nodes == 0 {
		return g, fmt.Errorf("no node of the swarm takes tasks of %s: %d nodes, constraints %q", o.Name, len(members), o.Placement.Constraints)
	}
	return g, nil
}

// replicas are those asked for, else as many as there are, else one.
func replicas(ctx context.Context, manager *swarm.Engine, o AppOptions) (int, error) {
	if o.Replicas > 0 {
		return o.Replicas, nil
	}
	now, err := manager.Wanted(ctx, o.Name)
	return max(now, 1), err
}

// checkPublished refuses ports that another service has, or a program of a
// node that is none of the app's own.
func (x Executor) checkPublished(ctx context.Context, manager *swarm.Engine, engines []*swarm.Engine, o AppOptions, g Ground) error {
	if len(o.Publish) == 0 {
		return nil
	}
	if g.HostPorts && o.Replicas > g.Nodes {
		why := ""
		if !g.IPVS {
			why = "without IPVS in every node's kernel "
		}
		return usage.Errorf("-p with %d replicas on %d nodes: %sa published port takes a node each", o.Replicas, g.Nodes, why)
	}
	taken, err := manager.PublishedPorts(ctx)
	if err != nil {
		return err
	}
	var fresh []Port // that the app has not published before
	for _, p := range o.Publish {
		c := p.config("")
		switch owner := taken[swarm.PortKey(c)]; owner {
		case o.Name:
		case "":
			fresh = append(fresh, p)
		default:
			return fmt.Errorf("port %d is published by service %s already: nothing was changed", p.Published, owner)
		}
	}
	if err := portsFree(ctx, engines, fresh); err != nil || !g.HostPorts {
		return err
	}
	if !g.IPVS {
		x.Log.Info("not every node's kernel has IPVS: published ports answer on the nodes that run a task, and not on all")
	}
	if o.order(g) == api.UpdateOrderStopFirst {
		x.Log.Info("every node runs a task: an update stops the old one first, and its node refuses until the new one is there (fewer replicas leave a node for it)")
	}
	return nil
}

// shrink brings a service that publishes ports of its nodes to fewer tasks
// before it is updated, and returns how many it had where it did so. Done at
// once, the scheduler gives a new task the node of one that has not yet let go
// of the port.
func (x Executor) shrink(ctx context.Context, manager *swarm.Engine, spec api.ServiceSpec) (int, error) {
	if !hostPorts(spec) || spec.Mode.Replicated == nil {
		return 0, nil
	}
	to := int(*spec.Mode.Replicated.Replicas) // #nosec G115 -- a number of tasks
	now, err := manager.Wanted(ctx, spec.Name)
	if err != nil || now <= to {
		return 0, err
	}
	if _, err := manager.Scale(ctx, spec.Name, to); err != nil {
		return now, err
	}
	if err := manager.Converge(ctx, spec.Name, swarm.Updated, 0); err != nil {
		return now, err
	}
	engines, err := x.Env.Engines(ctx)
	if err != nil {
		return now, err
	}
	return now, swarm.AwaitPort(ctx, engines, int(spec.EndpointSpec.Ports[0].PublishedPort), to)
}

// portsFree asks every node whether a program listens on one of the ports.
func portsFree(ctx context.Context, engines []*swarm.Engine, ports []Port) error {
	if len(ports) == 0 {
		return nil
	}
	for _, e := range engines {
		bound, err := e.Listening(ctx)
		if err != nil {
			return err
		}
		for _, p := range ports {
			if p.Protocol != "udp" && slices.Contains(bound, p.Published) {
				return fmt.Errorf("port %d of %s is taken by a program there: nothing was changed", p.Published, e.Node())
			}
		}
	}
	return nil
}

// published lists where the app's published ports answer.
func (x Executor) published(ctx context.Context, manager *swarm.Engine, o AppOptions, g Ground) ([]string, error) {
	if len(o.Publish) == 0 {
		return nil, nil
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return nil, err
	}
	tasks, err := manager.Running(ctx, o.Name)
	if err != nil {
		return nil, err
	}
	runs := map[string]bool{}
	for _, t := range tasks {
		runs[t.Node] = true
	}
	var addresses []string
	for _, n := range members {
		if g.IPVS && swarm.Ready(n) || runs[n.Description.Hostname] {
			for _, p := range o.Publish {
				addresses = append(addresses, fmt.Sprintf("%s:%d", n.Status.Addr, p.Published))
			}
		}
	}
	return addresses, nil
}

// platforms are those of the nodes that take tasks and meet the constraints, by
// node.
func platforms(members []api.Node, constraints []string) map[string]api.Platform {
	found := map[string]api.Platform{}
	for _, n := range members {
		if takesTasks(n) && swarm.Meets(constraints, n) {
			found[n.Description.Hostname] = n.Description.Platform
		}
	}
	return found
}

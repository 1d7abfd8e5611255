package services

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"skep/compose"
	"skep/swarm"
	"skep/usage"

	api "github.com/docker/docker/api/types/swarm"
)

// ComposeStack is a compose file as a stack that is an app.
func ComposeStack(file compose.Stack, ipvs bool) Stack {
	stack := Stack{Name: AppStack(file.Name), Overlays: file.Networks, Kept: file.Kept, Settle: appSettle}
	for _, s := range file.Services {
		labels := map[string]string{swarm.LabelStack: stack.Name, labelImage: s.TaskTemplate.ContainerSpec.Image}
		for k, v := range s.Labels {
			labels[k] = v
		}
		s.Labels = labels
		c := *s.TaskTemplate.ContainerSpec
		c.Labels = map[string]string{swarm.LabelStack: stack.Name}
		for k, v := range s.TaskTemplate.ContainerSpec.Labels {
			c.Labels[k] = v
		}
		s.TaskTemplate.ContainerSpec = &c
		if !ipvs {
			withoutIPVS(&s)
		}
		stack.Services = append(stack.Services, s)
	}
	return stack
}

// withoutIPVS lays a service out for kernels that balance no virtual addresses.
func withoutIPVS(s *api.ServiceSpec) {
	e := *s.EndpointSpec
	e.Mode, e.Ports = api.ResolutionModeDNSRR, slices.Clone(e.Ports)
	for i := range e.Ports {
		e.Ports[i].PublishMode = api.PortConfigPublishModeHost
	}
	s.EndpointSpec = &e
}

// DeployFile deploys a compose file as a stack.
func (x Executor) DeployFile(ctx context.Context, file compose.Stack) (map[string]swarm.Change, error) {
	if !dnsLabel.MatchString(file.Name) {
		return nil, usage.Errorf("%q is not the name of an app: use a to z, 0 to 9 and -, starting with a letter, 63 at most", file.Name)
	}
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return nil, err
	}
	engines, err := x.Env.Engines(ctx)
	if err != nil {
		return nil, err
	}
	ipvs, err := hasIPVS(ctx, engines)
	if err != nil {
		return nil, err
	}
	stack := ComposeStack(file, ipvs)
	for i := range stack.Services {
		s := &stack.Services[i]
		g, err := x.ground(ctx, manager, nil, AppOptions{Name: s.Name, Placement: Placement{Constraints: constraints(*s)}})
		if err != nil {
			return nil, err
		}
		g.IPVS, g.HostPorts = ipvs, hostPorts(*s)
		if err := x.checkFilePorts(ctx, manager, engines, s, g); err != nil {
			return nil, fmt.Errorf("service %s: %w", s.Name, err)
		}
	}
	changes, err := x.deploy(ctx, stack)
	forgotten := x.forget(ctx, stack.Name)
	if err != nil {
		return changes, errors.Join(err, forgotten)
	}
	return changes, errors.Join(forgotten, x.tellLeft(ctx, manager, stack))
}

// forget removes what an app made and none of its services uses, now or in the
// version before: secrets and configs, and networks where no service is left.
func (x Executor) forget(ctx context.Context, stack string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTimeout)
	defer cancel()
	manager, unlock, err := x.changing(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := appServices(ctx, manager, "")
	if err != nil {
		return err
	}
	var used []string
	left := false
	for _, s := range all {
		if s.Spec.Labels[swarm.LabelStack] != stack {
			continue
		}
		left = true
		used = append(used, keptBy(s.Spec)...)
		if s.PreviousSpec != nil {
			used = append(used, keptBy(*s.PreviousSpec)...)
		}
	}
	if !left {
		if _, err := manager.RemoveStack(ctx, stack); err != nil {
			return err
		}
	}
	return manager.RemoveKept(ctx, stack, used)
}

// keptBy are the names of the secrets and configs that a service uses.
func keptBy(s api.ServiceSpec) []string {
	var names []string
	for _, r := range s.TaskTemplate.ContainerSpec.Secrets {
		names = append(names, r.SecretName)
	}
	for _, r := range s.TaskTemplate.ContainerSpec.Configs {
		names = append(names, r.ConfigName)
	}
	return names
}

// checkFilePorts refuses ports that are taken, and where ports are the nodes'
// own, more tasks than nodes; with as many the old task goes first.
func (x Executor) checkFilePorts(ctx context.Context, manager *swarm.Engine, engines []*swarm.Engine, s *api.ServiceSpec, g Ground) error {
	var ports []Port
	for _, p := range s.EndpointSpec.Ports {
		if p.PublishedPort != 0 {
			ports = append(ports, Port{Published: int(p.PublishedPort), Target: int(p.TargetPort), Protocol: string(p.Protocol)})
		}
	}
	o := AppOptions{Name: s.Name, Publish: ports, Replicas: g.Nodes}
	if r := s.Mode.Replicated; r != nil {
		o.Replicas = int(*r.Replicas) // #nosec G115 -- a number of tasks
	}
	if err := x.checkPublished(ctx, manager, engines, o, g); err != nil {
		return err
	}
	if o.order(g) == api.UpdateOrderStopFirst {
		for _, u := range []**api.UpdateConfig{&s.UpdateConfig, &s.RollbackConfig} {
			c := **u
			c.Order = api.UpdateOrderStopFirst
			*u = &c
		}
	}
	return nil
}

func constraints(s api.ServiceSpec) []string {
	if s.TaskTemplate.Placement == nil {
		return nil
	}
	return s.TaskTemplate.Placement.Constraints
}

// tellLeft tells of services that an earlier file had and this one has not.
func (x Executor) tellLeft(ctx context.Context, manager *swarm.Engine, stack Stack) error {
	names, err := manager.StackServices(ctx, stack.Name)
	for _, name := range names {
		if !slices.ContainsFunc(stack.Services, func(s api.ServiceSpec) bool { return s.Name == name }) {
			x.Log.Warn(fmt.Sprintf("service %s is no longer in the file and still runs: `skep docker ENV service rm %s` removes it", name, name))
		}
	}
	return err
}

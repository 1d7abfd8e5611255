package services

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"skep/swarm"
	"skep/usage"

	api "github.com/docker/docker/api/types/swarm"
)

// AppOptions are what `app deploy` asks for.
type AppOptions struct {
	Name, Image string
	Env         []string // K=V
	Network     string   // "" is dbnet where it exists
	Publish     []int    // ports that the nodes answer on, too
	Replicas    int      // 0 is as many as there are, else 1
}

// appSettle is how long a task of an app has to stay up: one that ends at once
// was running for a moment, too.
const appSettle = 2 * time.Second

var dnsLabel = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Check refuses what cannot be deployed, before anything is touched.
func (o AppOptions) Check() error {
	if !dnsLabel.MatchString(o.Name) {
		return usage.Errorf("%q is not the name of an app: it becomes a DNS name, so use a to z, 0 to 9 and -, starting with a letter, 63 at most", o.Name)
	}
	if o.Replicas < 0 {
		return usage.Errorf("the number of replicas cannot be negative")
	}
	for _, e := range o.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return usage.Errorf("%q is not a variable: use NAME=VALUE", e)
		}
	}
	for _, p := range o.Publish {
		if err := CheckPort(p); err != nil {
			return err
		}
	}
	return nil
}

// CheckPort refuses what is no port.
func CheckPort(p int) error {
	if p < 1 || p > 65535 {
		return usage.Errorf("%d is not a port: use 1 to 65535", p)
	}
	return nil
}

// AppStack is the stack that an app is: no name of an app is that of a database.
func AppStack(name string) string { return "app " + name }

// App is an app as a stack. Where the kernel of every node has IPVS, its name
// resolves to a virtual address and published ports answer on all nodes;
// elsewhere its tasks are found by their own addresses, and a published port
// answers on the nodes that run one.
func App(o AppOptions, ipvs bool) Stack {
	labels := map[string]string{swarm.LabelStack: AppStack(o.Name)}
	replicas := uint64(o.Replicas) // #nosec G115 -- Check refuses negative ones
	s := api.ServiceSpec{
		Annotations: api.Annotations{Name: o.Name, Labels: labels},
		TaskTemplate: api.TaskSpec{
			ContainerSpec: &api.ContainerSpec{Image: o.Image, Env: o.Env, Labels: labels},
			RestartPolicy: &api.RestartPolicy{Condition: api.RestartPolicyConditionAny},
		},
		Mode:           api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &replicas}},
		EndpointSpec:   &api.EndpointSpec{Mode: api.ResolutionModeVIP},
		UpdateConfig:   &api.UpdateConfig{Parallelism: 1, Order: api.UpdateOrderStartFirst, FailureAction: api.UpdateFailureActionRollback, Monitor: appSettle},
		RollbackConfig: &api.UpdateConfig{Parallelism: 1, Order: api.UpdateOrderStartFirst},
	}
	if o.Network != "" {
		s.TaskTemplate.Networks = []api.NetworkAttachmentConfig{{Target: o.Network}}
	}
	mode := api.PortConfigPublishModeIngress
	if !ipvs {
		mode, s.EndpointSpec.Mode = api.PortConfigPublishModeHost, api.ResolutionModeDNSRR
		if len(o.Publish) > 0 {
			// A node has each port once: the old task has to give it up first.
			s.UpdateConfig.Order, s.RollbackConfig.Order = api.UpdateOrderStopFirst, api.UpdateOrderStopFirst
		}
	}
	for _, p := range o.Publish {
		port := uint32(p) // #nosec G115 -- Check keeps it below 65536
		s.EndpointSpec.Ports = append(s.EndpointSpec.Ports, api.PortConfig{
			Protocol: api.PortConfigProtocolTCP, TargetPort: port, PublishedPort: port, PublishMode: mode,
		})
	}
	return Stack{Name: AppStack(o.Name), Services: []api.ServiceSpec{s}, Settle: appSettle}
}

// DeployApp deploys an app and tells where it answers.
func (x Executor) DeployApp(ctx context.Context, o AppOptions) ([]string, error) {
	if err := o.Check(); err != nil {
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
	if o.Replicas == 0 {
		manager, err := x.Env.Manager(ctx)
		if err != nil {
			return nil, err
		}
		if o.Replicas, err = manager.Wanted(ctx, o.Name); err != nil {
			return nil, err
		}
		o.Replicas = max(o.Replicas, 1)
	}
	if o.Network, err = x.network(ctx, o.Network); err != nil {
		return nil, err
	}
	if !ipvs && len(o.Publish) > 0 {
		if o.Replicas > len(engines) {
			return nil, usage.Errorf("-p with %d replicas on %d nodes: without IPVS in every node's kernel a published port takes a node each", o.Replicas, len(engines))
		}
		x.Log.Info("not every node's kernel has IPVS: published ports answer on the nodes that run a task, and not on all")
	}
	if err := x.Deploy(ctx, App(o, ipvs)); err != nil {
		return nil, err
	}
	return x.published(ctx, o, ipvs)
}

// published lists where the app's published ports answer.
func (x Executor) published(ctx context.Context, o AppOptions, ipvs bool) ([]string, error) {
	if len(o.Publish) == 0 {
		return nil, nil
	}
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return nil, err
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
		if ipvs || runs[n.Description.Hostname] {
			for _, p := range o.Publish {
				addresses = append(addresses, fmt.Sprintf("%s:%d", n.Status.Addr, p))
			}
		}
	}
	return addresses, nil
}

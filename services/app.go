package services

import (
	"regexp"
	"strings"
	"time"

	"skep/swarm"
	"skep/usage"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	api "github.com/docker/docker/api/types/swarm"
)

// AppOptions are what `app deploy` asks for.
type AppOptions struct {
	Name, Image string
	Env         []string // K=V
	Network     string   // "" is dbnet where it exists
	Publish     []Port   // ports that the nodes answer on, too
	Replicas    int      // 0 is as many as there are, else 1
	Mounts      []Mount  // beside appdata
	Secrets     []Secret // of the swarm, by name
	Memory      int64    // limit in bytes, 0 is none
	Health      []string // what the container runs to tell that it serves, as Docker has it; none is no check
	Placement   Placement
}

// appSettle is how long a task of an app has to stay up: one that ends at once
// was running for a moment, too.
const appSettle = 2 * time.Second

// A healthcheck that fails so often in a row, so far apart, has failed, once the
// task has had its time to start.
const (
	healthStart   = 30 * time.Second
	healthEvery   = 2 * time.Second
	healthTimeout = 3 * time.Second
	healthTries   = 5
)

// The volume that every app has on its node, and where.
const (
	appVolume = "appdata"
	appFolder = "/appdata"
)

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
	published := map[Port]bool{}
	for _, p := range o.Publish {
		if err := p.check(); err != nil {
			return err
		}
		at := Port{Published: p.Published, Protocol: p.Protocol}
		if published[at] {
			return usage.Errorf("port %d is published twice", p.Published)
		}
		published[at] = true
	}
	targets := map[string]bool{appFolder: true}
	for _, m := range o.Mounts {
		if targets[m.Target] && m.Target != appFolder {
			return usage.Errorf("two mounts have the place %s", m.Target)
		}
		targets[m.Target] = true
	}
	return nil
}

// AppStack is the stack that an app is: no name of an app is that of a database.
func AppStack(name string) string { return appPrefix + name }

const appPrefix = "app "

// Ground is what of the swarm decides how an app is laid out on it.
type Ground struct {
	IPVS      bool // in the kernel of every node
	HostPorts bool // a published port is a node's own, which each has once
	Nodes     int  // that take tasks of the app
}

// App is an app as a stack. Where the kernel of every node has IPVS, its name
// resolves to a virtual address and published ports answer on all nodes;
// elsewhere its tasks are found by their own addresses, and a published port
// answers on the nodes that run one.
func App(o AppOptions, g Ground) Stack {
	labels := map[string]string{swarm.LabelStack: AppStack(o.Name)}
	replicas := uint64(o.Replicas) // #nosec G115 -- Check refuses negative ones
	order := o.order(g)
	s := api.ServiceSpec{
		Annotations:  api.Annotations{Name: o.Name, Labels: map[string]string{swarm.LabelStack: AppStack(o.Name), labelImage: o.Image}},
		TaskTemplate: o.task(labels),
		Mode:         api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &replicas}},
		EndpointSpec: &api.EndpointSpec{Mode: api.ResolutionModeVIP},
		// The delay keeps a version that ends at once from taking more than one
		// task's place before it is taken back.
		UpdateConfig:   &api.UpdateConfig{Parallelism: 1, Delay: appSettle, Order: order, FailureAction: api.UpdateFailureActionRollback, Monitor: appSettle},
		RollbackConfig: &api.UpdateConfig{Parallelism: 1, Order: order, FailureAction: api.UpdateFailureActionPause, Monitor: appSettle},
	}
	mode := api.PortConfigPublishModeIngress
	if g.HostPorts {
		mode, s.EndpointSpec.Mode = api.PortConfigPublishModeHost, api.ResolutionModeDNSRR
	}
	for _, p := range o.Publish {
		s.EndpointSpec.Ports = append(s.EndpointSpec.Ports, p.config(mode))
	}
	return Stack{Name: AppStack(o.Name), Services: []api.ServiceSpec{s}, Settle: appSettle}
}

// order is start-first but where the port is the node's own and every node has
// a task: a node has each port once, so the old task has to give it up first.
func (o AppOptions) order(g Ground) string {
	if g.HostPorts && len(o.Publish) > 0 && o.Replicas >= g.Nodes {
		return api.UpdateOrderStopFirst
	}
	return api.UpdateOrderStartFirst
}

func (o AppOptions) task(labels map[string]string) api.TaskSpec {
	t := api.TaskSpec{
		ContainerSpec: &api.ContainerSpec{Image: o.Image, Env: o.Env, Labels: labels, Mounts: o.mounts(labels)},
		RestartPolicy: &api.RestartPolicy{Condition: api.RestartPolicyConditionAny},
		Placement:     o.Placement.config(),
	}
	for _, secret := range o.Secrets {
		t.ContainerSpec.Secrets = append(t.ContainerSpec.Secrets, secret.reference())
	}
	if len(o.Health) > 0 {
		t.ContainerSpec.Healthcheck = &container.HealthConfig{
			Test: o.Health, Interval: healthEvery, Timeout: healthTimeout, Retries: healthTries, StartPeriod: healthStart,
		}
	}
	if o.Memory > 0 {
		t.Resources = &api.ResourceRequirements{Limits: &api.Limit{MemoryBytes: o.Memory}}
	}
	if o.Network != "" {
		t.Networks = []api.NetworkAttachmentConfig{{Target: o.Network}}
	}
	return t
}

// mounts are those asked for, and appdata unless one of them takes its place.
func (o AppOptions) mounts(labels map[string]string) []mount.Mount {
	all := []mount.Mount{}
	data := true
	for _, m := range o.Mounts {
		all = append(all, m.config(labels))
		data = data && m.Target != appFolder
	}
	if data {
		// All apps of a node share it: it is no single one's.
		all = append(all, Mount{Source: appVolume, Target: appFolder}.config(map[string]string{swarm.LabelStack: appVolume}))
	}
	return all
}

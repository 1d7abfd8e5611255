// Package services deploys stacks: databases and apps on an environment's
// swarm. A stack is pure data, one file each; one executor deploys any of them.
//
// It asks engines (swarm) for everything and must not know where the machines
// under them come from.
package services

import (
	"cmp"
	"time"

	"skep/compose"
	"skep/swarm"

	"github.com/docker/docker/api/types/mount"
	api "github.com/docker/docker/api/types/swarm"
)

// Stack is what is deployed: services in order, on networks, with the places
// and signs of life that they need. Tests compare it with golden files.
type Stack struct {
	Name     string
	Networks []string
	Pins     []Pin
	Sysctls  []Sysctl `json:",omitempty"`
	// Services are created or updated in this order, each after the one before
	// has converged. Their images are references, not yet resolved.
	Services []api.ServiceSpec
	// InTurn has the stack be whole after each service that was updated, before the
	// next one does.
	InTurn bool
	// Stays keeps services that were created where the rest fails: they are of a
	// stack that was there before.
	Stays bool
	// Settle is how long a service has to stay up to count as up.
	Settle time.Duration
	// Ready is asked of every running task at the end.
	Ready []Probe
	// Overlays are networks with options of their own, and Kept the secrets and
	// configs that are made with the stack.
	Overlays []compose.Network `json:",omitempty"`
	Kept     []compose.Kept    `json:",omitempty"`
}

// Pin is a node label that so many nodes carry, for services that stay where
// their data is. The executor adds it where too few do, and never takes it away.
type Pin struct {
	Label    string
	Nodes    int
	Managers bool // on managers' nodes only
	// Value is that of the label, "" for "true". Pins of one label and several
	// values are on a node each.
	Value string `json:",omitempty"`
}

func (p Pin) value() string { return cmp.Or(p.Value, "true") }

// constraint places a service on the nodes that carry the label.
func (p Pin) constraint() *api.Placement {
	return &api.Placement{Constraints: []string{"node.labels." + p.Label + "==" + p.value()}}
}

// Probe is an HTTP question that every task of a service answers with 200 once
// it serves.
type Probe struct {
	Service string
	Port    int
	Path    string
	None    bool `json:",omitempty"` // there need not be any task
}

// add appends a service and what is asked of it.
func (s *Stack) add(service api.ServiceSpec, ready Probe) {
	ready.Service = service.Name
	s.Services, s.Ready = append(s.Services, service), append(s.Ready, ready)
}

// database is the form of all services of databases: found by DNS under their
// own addresses, restarted whatever happens, found again on their own volume.
func database(stack, name, image, network, volume, target string) api.ServiceSpec {
	labels := map[string]string{swarm.LabelStack: stack}
	restart, grace := 500*time.Millisecond, 20*time.Second
	return api.ServiceSpec{
		Annotations: api.Annotations{Name: name, Labels: labels},
		TaskTemplate: api.TaskSpec{
			ContainerSpec: &api.ContainerSpec{
				Image:           image,
				Labels:          labels,
				StopGracePeriod: &grace,
				Mounts: []mount.Mount{{
					Type: mount.TypeVolume, Source: volume, Target: target,
					VolumeOptions: &mount.VolumeOptions{Labels: labels},
				}},
			},
			Networks:      []api.NetworkAttachmentConfig{{Target: network}},
			RestartPolicy: &api.RestartPolicy{Condition: api.RestartPolicyConditionAny, Delay: &restart},
		},
		// One at a time, and the old one first: two servers must not open the
		// same volume.
		UpdateConfig: &api.UpdateConfig{Parallelism: 1, Order: api.UpdateOrderStopFirst, FailureAction: api.UpdateFailureActionPause},
		Mode:         api.ServiceMode{Global: &api.GlobalService{}},
		EndpointSpec: &api.EndpointSpec{Mode: api.ResolutionModeDNSRR},
	}
}

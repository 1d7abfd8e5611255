package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"skep/images"
	"skep/swarm"

	"github.com/docker/docker/api/types/network"
	api "github.com/docker/docker/api/types/swarm"
)

// Service is the relay's name in the swarm, and its stack's.
const Service = "skep-relay"

const (
	deployTimeout = 2 * time.Minute
	nobody        = "65534:65534"
	// Two, so that the loss of a node costs nobody the relay.
	replicas = 2
)

// Environment is what the relay is deployed to.
type Environment interface {
	Manager(ctx context.Context) (*swarm.Engine, error)
	Engines(ctx context.Context) ([]*swarm.Engine, error)
	Lock(ctx context.Context) (unlock func(), err error)
}

// Deploy sees to it that the relay runs on every overlay network of the
// environment, from the program in file.
func Deploy(ctx context.Context, env Environment, file string, log *slog.Logger) error {
	ctx, cancel := context.WithTimeoutCause(ctx, deployTimeout, errors.New("not within "+deployTimeout.String()))
	defer cancel()
	image, err := images.Self(file)
	if err != nil {
		return err
	}
	unlock, err := env.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	manager, err := env.Manager(ctx)
	if err != nil {
		return err
	}
	networks, err := overlays(ctx, manager)
	if err != nil {
		return err
	}
	id, arch, err := ship(ctx, env, manager, image, log)
	if err != nil {
		return err
	}
	change, err := manager.Apply(ctx, spec(id, arch, networks), "")
	if err != nil {
		return err
	}
	if change != swarm.Unchanged {
		log.Info("service "+Service+" "+string(change), "networks", strings.Join(networks, ","))
	}
	return manager.Converge(ctx, Service, change, 0)
}

// Remove removes the relay, where there is one.
func Remove(ctx context.Context, env Environment) error {
	manager, err := env.Manager(ctx)
	if err != nil {
		return fmt.Errorf("remove service %s: %w", Service, err)
	}
	_, err = manager.RemoveStack(ctx, Service)
	return err
}

// overlays are the networks on which services find each other.
func overlays(ctx context.Context, manager *swarm.Engine) ([]string, error) {
	all, err := manager.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the networks of %s: %w", manager.Node(), err)
	}
	var names []string
	for _, n := range all {
		if n.Driver == "overlay" && n.Scope == "swarm" && !n.Ingress {
			names = append(names, n.Name)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("it has no overlay network, so there are no names to resolve: deploy a database or an app first")
	}
	slices.Sort(names)
	return names, nil
}

// ship brings the image to the nodes that can run it, and returns its ID and
// their architecture, as the swarm names it.
func ship(ctx context.Context, env Environment, manager *swarm.Engine, image *images.Parcel, log *slog.Logger) (id, arch string, err error) {
	all, err := env.Engines(ctx)
	if err != nil {
		return "", "", err
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return "", "", err
	}
	fit := swarm.Fitting(members, all, image.Platform.Architecture)
	if len(fit) == 0 {
		return "", "", fmt.Errorf("the relay %w: it is for %s, and no node is; name a skep for linux on them with --relay", images.ErrUnfit, image.Platform.Architecture)
	}
	c := swarm.Carriage{
		Cargo: image, Members: members, Told: func(swarm.Sent) {},
		Begin: func(lacking int) {
			log.Info(fmt.Sprintf("sending the relay to %d of %d nodes", lacking, len(all)))
		},
		Warn: func(node string, err error) {
			log.Warn("the relay could not be passed on; sending it from here", "node", node, "error", err)
		},
	}
	id, err = c.Bring(ctx, fit)
	n, _ := swarm.Member(members, fit[0].Node())
	return id, n.Description.Platform.Architecture, err
}

// spec is the relay as a service. It is found by nobody: tunnels go to its
// tasks.
func spec(image, arch string, networks []string) api.ServiceSpec {
	labels := map[string]string{swarm.LabelStack: Service}
	count, delay, grace := uint64(replicas), 500*time.Millisecond, time.Second
	s := api.ServiceSpec{
		Annotations: api.Annotations{Name: Service, Labels: labels},
		TaskTemplate: api.TaskSpec{
			ContainerSpec: &api.ContainerSpec{
				Image: image, Args: []string{"relay"}, User: nobody,
				Labels: labels, ReadOnly: true, StopGracePeriod: &grace,
			},
			RestartPolicy: &api.RestartPolicy{Condition: api.RestartPolicyConditionAny, Delay: &delay},
			Placement:     &api.Placement{Constraints: []string{"node.platform.arch==" + arch}},
		},
		Mode:         api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &count}},
		EndpointSpec: &api.EndpointSpec{Mode: api.ResolutionModeDNSRR},
	}
	for _, n := range networks {
		s.TaskTemplate.Networks = append(s.TaskTemplate.Networks, api.NetworkAttachmentConfig{Target: n})
	}
	return s
}

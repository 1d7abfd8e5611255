package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"skep/swarm"

	"github.com/docker/docker/api/types/network"
	api "github.com/docker/docker/api/types/swarm"
)

// Service is the relay's name in the swarm, and its stack's.
const Service = "skep-relay"

const (
	deployTimeout = 2 * time.Minute
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
	image, err := NewImage(file)
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
	id, err := ship(ctx, env, image, log)
	if err != nil {
		return err
	}
	change, err := manager.Apply(ctx, spec(id, image.Arch, networks))
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

// ship brings the image to the nodes that can run it, and returns its ID.
func ship(ctx context.Context, env Environment, image Image, log *slog.Logger) (string, error) {
	all, err := env.Engines(ctx)
	if err != nil {
		return "", err
	}
	var fit []*swarm.Engine
	others := map[string]bool{}
	for _, e := range all {
		info, err := e.Info(ctx)
		if err != nil {
			return "", fmt.Errorf("ask %s for its architecture: %w", e.Node(), err)
		}
		if info.Architecture == image.Arch {
			fit = append(fit, e)
		} else {
			others[info.Architecture] = true
		}
	}
	for arch := range others {
		if len(fit) == 0 {
			return "", fmt.Errorf("%s %w: they are %s and it is for %s; name a skep for linux on %s with --relay", image.file, ErrUnfit, arch, image.Arch, arch)
		}
	}
	lacking, err := swarm.Lacking(ctx, image.Ref, fit)
	if err != nil {
		return "", err
	}
	if len(lacking) > 0 {
		log.Info(fmt.Sprintf("sending the relay to %d of %d nodes", len(lacking), len(all)))
		r, w := io.Pipe()
		go func() { _ = w.CloseWithError(image.Save(w)) }()
		err := swarm.Load(ctx, r, lacking)
		_ = r.CloseWithError(errors.New("load ended"))
		if err != nil {
			return "", err
		}
	}
	return sameID(ctx, image.Ref, fit)
}

// sameID is the ID that all engines know the image by.
func sameID(ctx context.Context, ref string, engines []*swarm.Engine) (string, error) {
	id := ""
	for _, e := range engines {
		found, err := e.ImageInspect(ctx, ref)
		if err != nil {
			return "", fmt.Errorf("%s did not take the relay's image: %w", e.Node(), err)
		}
		if id != "" && found.ID != id {
			return "", fmt.Errorf("%s and %s have different image stores", e.Node(), engines[0].Node())
		}
		id = found.ID
	}
	return id, nil
}

// spec is the relay as a service. It is found by nobody: tunnels go to its
// tasks.
func spec(image, arch string, networks []string) api.ServiceSpec {
	labels := map[string]string{swarm.LabelStack: Service}
	count, delay, grace := uint64(replicas), 500*time.Millisecond, time.Second
	s := api.ServiceSpec{
		Annotations: api.Annotations{Name: Service, Labels: labels},
		TaskTemplate: api.TaskSpec{
			ContainerSpec: &api.ContainerSpec{Image: image, Labels: labels, ReadOnly: true, StopGracePeriod: &grace},
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

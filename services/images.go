package services

import (
	"context"
	"errors"
	"fmt"
	"time"

	"skep/swarm"

	"github.com/docker/docker/client"
)

// registryTimeout bounds the look-up of an image that nobody here has: without
// a network it would hang on DNS.
const registryTimeout = 30 * time.Second

// ship resolves the stack's images and brings those that no registry has to all
// nodes. It returns what each reference becomes in a service.
func (x Executor) ship(ctx context.Context, manager *swarm.Engine, stack Stack) (map[string]string, error) {
	resolved := map[string]string{}
	for _, s := range stack.Services {
		ref := s.TaskTemplate.ContainerSpec.Image
		if resolved[ref] != "" {
			continue
		}
		image, err := x.shipOne(ctx, manager, ref)
		if err != nil {
			return nil, err
		}
		resolved[ref] = image
	}
	return resolved, nil
}

// shipOne looks for the image on this computer, then on the nodes, then in a
// registry. What an engine has travels by ID, which no agent ever pulls; what a
// registry has is pinned by its digest.
func (x Executor) shipOne(ctx context.Context, manager *swarm.Engine, ref string) (string, error) {
	from, id := x.holder(ctx, manager, ref)
	if from == nil {
		return fromRegistry(ctx, manager, ref)
	}
	engines, err := x.Env.Engines(ctx)
	if err != nil {
		return "", err
	}
	lacking, err := swarm.Lacking(ctx, id, engines)
	if err != nil {
		return "", err
	}
	if len(lacking) == 0 {
		return id, nil
	}
	x.Log.Info(fmt.Sprintf("sending image %s to %d of %d nodes", ref, len(lacking), len(engines)))
	if err := swarm.Ship(ctx, from, ref, lacking); err != nil {
		return "", err
	}
	// An engine that names images otherwise than the sender would not find it.
	still, err := swarm.Lacking(ctx, id, lacking)
	if err != nil {
		return "", err
	}
	if len(still) > 0 {
		return "", fmt.Errorf("%s took image %s but does not know it as %s: its image store differs from the sender's", still[0].Node(), ref, id)
	}
	return id, nil
}

// holder finds an engine that has the image: this computer's, else a manager's.
func (x Executor) holder(ctx context.Context, manager *swarm.Engine, ref string) (*client.Client, string) {
	if local, err := x.Local(); err == nil {
		if found, err := local.ImageInspect(ctx, ref); err == nil {
			return local, found.ID
		}
	}
	if found, err := manager.ImageInspect(ctx, ref); err == nil {
		return manager.Client, found.ID
	}
	return nil, ""
}

func fromRegistry(ctx context.Context, manager *swarm.Engine, ref string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, registryTimeout, errors.New("no answer within "+registryTimeout.String()))
	defer cancel()
	pinned, err := manager.Pin(ctx, ref)
	if err != nil {
		return "", fmt.Errorf("image %s is neither on this computer's engine nor on a node, and no registry gives it: %w", ref, err)
	}
	return pinned, nil
}

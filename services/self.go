package services

import (
	"context"
	"fmt"
	"slices"

	"skep/images"
	"skep/swarm"
)

// selfImage stands in a stack for the image that has skep and nothing else: the
// program that runs is put in it and sent to the nodes, so that what skep serves
// on a swarm needs no registry.
const selfImage = "skep:self"

// shipSelf brings skep's own image to the nodes where a service needs it.
func (x Executor) shipSelf(ctx context.Context, manager *swarm.Engine, stack *Stack) error {
	if !slices.ContainsFunc(stack.Services, isSelf) {
		return nil
	}
	id, err := x.bringSelf(ctx, manager)
	if err != nil {
		return err
	}
	for i := range stack.Services {
		if s := &stack.Services[i]; isSelf(*s) {
			c := *s.TaskTemplate.ContainerSpec
			c.Image = id
			s.TaskTemplate.ContainerSpec = &c
		}
	}
	return nil
}

// bringSelf sends it to the nodes that can run it, and returns its ID there.
func (x Executor) bringSelf(ctx context.Context, manager *swarm.Engine) (string, error) {
	file, err := images.SelfFile()
	if err != nil {
		return "", err
	}
	parcel, err := images.Self(file)
	if err != nil {
		return "", fmt.Errorf("%w; set %s to the file of a skep that is built for linux, with CGO_ENABLED=0", err, images.SelfVariable)
	}
	engines, err := x.Env.Engines(ctx)
	if err != nil {
		return "", err
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return "", err
	}
	fitting := swarm.Fitting(members, engines, parcel.Platform.Architecture)
	if len(fitting) == 0 {
		return "", fmt.Errorf("%s %w: it is for %s, and no node is; set %s to the file of a skep that is built for them, with CGO_ENABLED=0",
			file, images.ErrUnfit, parcel.Platform.Architecture, images.SelfVariable)
	}
	return x.bring(ctx, parcel, fitting)
}

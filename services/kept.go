package services

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"skep/compose"
	"skep/swarm"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	api "github.com/docker/docker/api/types/swarm"
)

// checkKept refuses secrets and configs that are neither in the swarm nor made
// with the stack, and external networks that are not there.
func checkKept(ctx context.Context, manager *swarm.Engine, stack Stack) error {
	secrets, configs, err := manager.Kept(ctx)
	if err != nil {
		return err
	}
	for _, k := range stack.Kept {
		if k.Secret {
			secrets[k.Name] = k.Name
		} else {
			configs[k.Name] = k.Name
		}
	}
	var errs []error
	for _, s := range stack.Services {
		for _, r := range s.TaskTemplate.ContainerSpec.Secrets {
			if secrets[r.SecretName] == "" {
				errs = append(errs, fmt.Errorf("there is no secret %s: `skep docker ENV secret create %s FILE` makes it", r.SecretName, r.SecretName))
			}
		}
		for _, r := range s.TaskTemplate.ContainerSpec.Configs {
			if configs[r.ConfigName] == "" {
				errs = append(errs, fmt.Errorf("there is no config %s: `skep docker ENV config create %s FILE` makes it", r.ConfigName, r.ConfigName))
			}
		}
	}
	for _, n := range stack.Overlays {
		if !n.External {
			continue
		}
		found, err := manager.NetworkInspect(ctx, n.Name, network.InspectOptions{})
		switch {
		case errdefs.IsNotFound(err) || err == nil && found.Scope != "swarm":
			errs = append(errs, fmt.Errorf("there is no network %s in the swarm", n.Name))
		case err != nil:
			errs = append(errs, fmt.Errorf("look for network %s: %w", n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// networks makes those of a stack that are not there, as the way between the
// nodes asks for.
func (x Executor) networks(ctx context.Context, manager *swarm.Engine, stack Stack) error {
	members, err := manager.Members(ctx)
	if err != nil {
		return err
	}
	path := swarm.PathOf(members)
	for _, n := range overlays(stack) {
		labels := map[string]string{swarm.LabelStack: stack.Name}
		for k, v := range n.Labels {
			labels[k] = v
		}
		warning, err := manager.Overlay(ctx, n.Name, network.CreateOptions{Internal: n.Internal, Options: n.Options, Labels: labels}, path)
		if err != nil {
			return err
		}
		if warning != "" {
			x.Log.Warn(warning)
		}
	}
	return nil
}

// overlays are the networks that a stack makes.
func overlays(stack Stack) []compose.Network {
	var all []compose.Network
	for _, name := range stack.Networks {
		all = append(all, compose.Network{Name: name})
	}
	for _, n := range stack.Overlays {
		if !n.External {
			all = append(all, n)
		}
	}
	return all
}

// keep makes the stack's secrets and configs, and gives the services the ids of
// all that they use.
func (x Executor) keep(ctx context.Context, manager *swarm.Engine, stack Stack) (Stack, error) {
	secrets, configs, err := manager.Kept(ctx)
	if err != nil {
		return stack, err
	}
	for _, k := range stack.Kept {
		labels := map[string]string{swarm.LabelStack: stack.Name}
		for key, v := range k.Labels {
			labels[key] = v
		}
		switch {
		case k.Secret && secrets[k.Name] == "":
			secrets[k.Name], err = manager.KeepSecret(ctx, k.Name, k.Content, labels)
		case !k.Secret && configs[k.Name] == "":
			configs[k.Name], err = manager.KeepConfig(ctx, k.Name, k.Content, labels)
		}
		if err != nil {
			return stack, err
		}
	}
	stack.Services = slices.Clone(stack.Services)
	for i, s := range stack.Services {
		stack.Services[i] = withIDs(s, secrets, configs)
	}
	return stack, nil
}

// withIDs is a copy of the spec whose references have their ids.
func withIDs(s api.ServiceSpec, secrets, configs map[string]string) api.ServiceSpec {
	c := *s.TaskTemplate.ContainerSpec
	c.Secrets, c.Configs = slices.Clone(c.Secrets), slices.Clone(c.Configs)
	for j, r := range c.Secrets {
		ref := *r
		ref.SecretID = secrets[ref.SecretName]
		c.Secrets[j] = &ref
	}
	for j, r := range c.Configs {
		ref := *r
		ref.ConfigID = configs[ref.ConfigName]
		c.Configs[j] = &ref
	}
	s.TaskTemplate.ContainerSpec = &c
	return s
}

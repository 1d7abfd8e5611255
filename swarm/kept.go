package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/swarm"
)

// Kept are the ids of the secrets and configs that the swarm keeps, by name.
func (e *Engine) Kept(ctx context.Context) (secrets, configs map[string]string, err error) {
	secrets, configs = map[string]string{}, map[string]string{}
	foundSecrets, err := e.SecretList(ctx, api.SecretListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("list the secrets: %s", brief(err))
	}
	for _, s := range foundSecrets {
		secrets[s.Spec.Name] = s.ID
	}
	foundConfigs, err := e.ConfigList(ctx, api.ConfigListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("list the configs: %s", brief(err))
	}
	for _, c := range foundConfigs {
		configs[c.Spec.Name] = c.ID
	}
	return secrets, configs, nil
}

// KeepSecret makes a secret and returns its id.
func (e *Engine) KeepSecret(ctx context.Context, name string, content []byte, labels map[string]string) (string, error) {
	made, err := e.SecretCreate(ctx, api.SecretSpec{Annotations: api.Annotations{Name: name, Labels: labels}, Data: content})
	if err != nil {
		return "", fmt.Errorf("make secret %s: %s", name, brief(err))
	}
	return made.ID, nil
}

// KeepConfig makes a config and returns its id.
func (e *Engine) KeepConfig(ctx context.Context, name string, content []byte, labels map[string]string) (string, error) {
	made, err := e.ConfigCreate(ctx, api.ConfigSpec{Annotations: api.Annotations{Name: name, Labels: labels}, Data: content})
	if err != nil {
		return "", fmt.Errorf("make config %s: %s", name, brief(err))
	}
	return made.ID, nil
}

// Secrets lists the secrets of a stack by name.
func (e *Engine) Secrets(ctx context.Context, stack string) ([]string, error) {
	found, err := e.SecretList(ctx, api.SecretListOptions{Filters: ofStack(stack)})
	if err != nil {
		return nil, fmt.Errorf("list the secrets of %s: %s", stack, brief(err))
	}
	var names []string
	for _, s := range found {
		names = append(names, s.Spec.Name)
	}
	slices.Sort(names)
	return names, nil
}

// Configs lists the configs of a stack by name.
func (e *Engine) Configs(ctx context.Context, stack string) ([]string, error) {
	found, err := e.ConfigList(ctx, api.ConfigListOptions{Filters: ofStack(stack)})
	if err != nil {
		return nil, fmt.Errorf("list the configs of %s: %s", stack, brief(err))
	}
	var names []string
	for _, c := range found {
		names = append(names, c.Spec.Name)
	}
	slices.Sort(names)
	return names, nil
}

// Config reads a config.
func (e *Engine) Config(ctx context.Context, name string) ([]byte, error) {
	found, _, err := e.ConfigInspectWithRaw(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look for config %s: %w", name, err)
	}
	return found.Spec.Data, nil
}

// RemoveKept removes the secrets and configs of a stack but those to be kept,
// where no service uses them.
func (e *Engine) RemoveKept(ctx context.Context, stack string, keep []string) error {
	secrets, err := e.SecretList(ctx, api.SecretListOptions{Filters: ofStack(stack)})
	if err != nil {
		return fmt.Errorf("list the secrets of %s: %s", stack, brief(err))
	}
	configs, err := e.ConfigList(ctx, api.ConfigListOptions{Filters: ofStack(stack)})
	if err != nil {
		return fmt.Errorf("list the configs of %s: %s", stack, brief(err))
	}
	var errs []error
	remove := func(kind, name string, err error) {
		if err != nil && !errdefs.IsNotFound(err) && !strings.Contains(err.Error(), "in use") {
			errs = append(errs, fmt.Errorf("remove %s %s: %s", kind, name, brief(err)))
		}
	}
	for _, s := range secrets {
		if !slices.Contains(keep, s.Spec.Name) {
			remove("secret", s.Spec.Name, e.SecretRemove(ctx, s.ID))
		}
	}
	for _, c := range configs {
		if !slices.Contains(keep, c.Spec.Name) {
			remove("config", c.Spec.Name, e.ConfigRemove(ctx, c.ID))
		}
	}
	return errors.Join(errs...)
}

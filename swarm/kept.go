package swarm

import (
	"context"
	"fmt"
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

// removeKept removes the secrets and configs of a stack that nothing uses.
func (e *Engine) removeKept(ctx context.Context, stack string) error {
	secrets, err := e.SecretList(ctx, api.SecretListOptions{Filters: ofStack(stack)})
	if err != nil {
		return fmt.Errorf("list the secrets of %s: %s", stack, brief(err))
	}
	for _, s := range secrets {
		if err := e.SecretRemove(ctx, s.ID); err != nil && !errdefs.IsNotFound(err) && !strings.Contains(err.Error(), "in use") {
			return fmt.Errorf("remove secret %s: %s", s.Spec.Name, brief(err))
		}
	}
	configs, err := e.ConfigList(ctx, api.ConfigListOptions{Filters: ofStack(stack)})
	if err != nil {
		return fmt.Errorf("list the configs of %s: %s", stack, brief(err))
	}
	for _, c := range configs {
		if err := e.ConfigRemove(ctx, c.ID); err != nil && !errdefs.IsNotFound(err) && !strings.Contains(err.Error(), "in use") {
			return fmt.Errorf("remove config %s: %s", c.Spec.Name, brief(err))
		}
	}
	return nil
}

package swarm

import (
	"context"
	"fmt"

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

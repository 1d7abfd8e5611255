package swarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/pkg/stdcopy"
)

// EnsureSecret makes a secret of a stack unless there is one of that name,
// whose content nobody can read back and so nobody compares.
func (e *Engine) EnsureSecret(ctx context.Context, stack, name string, data []byte) error {
	_, err := e.SecretCreate(ctx, api.SecretSpec{Annotations: ofStackNamed(stack, name), Data: data})
	if err != nil && !taken(err) {
		return fmt.Errorf("make secret %s: %s", name, brief(err))
	}
	return nil
}

// EnsureConfig makes a config of a stack unless there is one of that name.
func (e *Engine) EnsureConfig(ctx context.Context, stack, name string, data []byte) error {
	_, err := e.ConfigCreate(ctx, api.ConfigSpec{Annotations: ofStackNamed(stack, name), Data: data})
	if err != nil && !taken(err) {
		return fmt.Errorf("make config %s: %s", name, brief(err))
	}
	return nil
}

func ofStackNamed(stack, name string) api.Annotations {
	return api.Annotations{Name: name, Labels: map[string]string{LabelStack: stack}}
}

// taken is how engines say that a name is in use; older ones leave the status.
func taken(err error) bool {
	return errdefs.IsConflict(err) || errdefs.IsAlreadyExists(err) || strings.Contains(err.Error(), "already exists")
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

// RemoveFiles removes the secrets and configs of a stack but those to be kept,
// where no service uses them.
func (e *Engine) RemoveFiles(ctx context.Context, stack string, keep []string) error {
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

// Resolve gives the secrets and configs that a service names their IDs.
func (e *Engine) Resolve(ctx context.Context, c *api.ContainerSpec) error {
	secrets := slices.Clone(c.Secrets)
	for i, ref := range secrets {
		found, _, err := e.SecretInspectWithRaw(ctx, ref.SecretName)
		if errdefs.IsNotFound(err) {
			return fmt.Errorf("there is no secret %s", ref.SecretName)
		}
		if err != nil {
			return fmt.Errorf("look for secret %s: %s", ref.SecretName, brief(err))
		}
		known := *ref
		known.SecretID = found.ID
		secrets[i] = &known
	}
	configs := slices.Clone(c.Configs)
	for i, ref := range configs {
		found, _, err := e.ConfigInspectWithRaw(ctx, ref.ConfigName)
		if errdefs.IsNotFound(err) {
			return fmt.Errorf("there is no config %s", ref.ConfigName)
		}
		if err != nil {
			return fmt.Errorf("look for config %s: %s", ref.ConfigName, brief(err))
		}
		known := *ref
		known.ConfigID = found.ID
		configs[i] = &known
	}
	c.Secrets, c.Configs = secrets, configs
	return nil
}

// ReadFile reads a file as a running container sees it.
func (e *Engine) ReadFile(ctx context.Context, containerID, path string) ([]byte, error) {
	made, err := e.ContainerExecCreate(ctx, containerID, container.ExecOptions{Cmd: []string{"cat", path}, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return nil, fmt.Errorf("read %s on %s: %s", path, e.Node(), brief(err))
	}
	stream, err := e.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return nil, fmt.Errorf("read %s on %s: %s", path, e.Node(), brief(err))
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, stream.Close)()
	var out, told bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &told, stream.Reader); err != nil {
		return nil, fmt.Errorf("read %s on %s: %w", path, e.Node(), err)
	}
	done, err := e.ContainerExecInspect(ctx, made.ID)
	if err != nil {
		return nil, fmt.Errorf("read %s on %s: %s", path, e.Node(), brief(err))
	}
	if done.ExitCode != 0 {
		return nil, fmt.Errorf("read %s on %s: %s", path, e.Node(), strings.TrimSpace(told.String()))
	}
	return out.Bytes(), nil
}

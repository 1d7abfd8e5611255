package swarm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	api "github.com/docker/docker/api/types/swarm"
)

// Labels that skep sets on what it makes in a swarm.
const (
	LabelStack = "skep.stack" // the stack a service, network or volume belongs to
	// LabelAnchor is on a stack's services that serve nobody, and only keep nodes
	// on its network.
	LabelAnchor = "skep.anchor"
	// LabelSpec holds a digest of what was asked for: on a service of all of it
	// but the scale, on its containers of the task template alone, so that a
	// change of anything else restarts nothing.
	LabelSpec = "skep.spec"
	// LabelDeploy is on a service the number of the deploy, of all of its stack's,
	// that last created or updated it.
	LabelDeploy = "skep.deploy"
	// Labels of nodes: what made the machine, and where it is.
	LabelDriver = "skep.driver"
	LabelRegion = "skep.region"
)

// ensureOverlay makes an attachable overlay network unless it is there: one that
// is keeps its options.
func (e *Engine) ensureOverlay(ctx context.Context, name string, o network.CreateOptions) error {
	found, err := e.NetworkInspect(ctx, name, network.InspectOptions{})
	if err == nil {
		if found.Driver != "overlay" {
			return fmt.Errorf("network %s on %s is a %s network, not an overlay", name, e.Node(), found.Driver)
		}
		return nil
	}
	if !errdefs.IsNotFound(err) {
		return fmt.Errorf("look for network %s: %s", name, brief(err))
	}
	o.Driver, o.Attachable = "overlay", true
	_, err = e.NetworkCreate(ctx, name, o)
	if err != nil && !strings.Contains(err.Error(), "already exists") {
		return fmt.Errorf("make network %s: %s", name, brief(err))
	}
	return nil
}

// Change says what Apply did.
type Change string

// The three outcomes of Apply.
const (
	Created   Change = "created"
	Updated   Change = "updated"
	Unchanged Change = "unchanged"
)

// Owned refuses a service that is there and not the stack's.
func (e *Engine) Owned(ctx context.Context, name, stack string) error {
	found, err := e.Service(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return owned(found, stack)
}

func owned(s api.Service, stack string) error {
	if owner := s.Spec.Labels[LabelStack]; owner != stack {
		return fmt.Errorf("there is a service %s already, of stack %q", s.Spec.Name, owner)
	}
	return nil
}

// Apply creates the service, or updates it where it differs from the spec. The
// spec's own digests are added to its labels. auth is what the image's registry
// wants to see of who pulls, "" for nothing.
func (e *Engine) Apply(ctx context.Context, spec api.ServiceSpec, auth string) (Change, error) {
	spec = stamp(spec)
	found, err := e.Service(ctx, spec.Name)
	if errdefs.IsNotFound(err) {
		if _, err := e.ServiceCreate(ctx, spec, api.ServiceCreateOptions{EncodedRegistryAuth: auth}); err != nil {
			return "", fmt.Errorf("create service %s: %s", spec.Name, brief(err))
		}
		return Created, nil
	}
	if err != nil {
		return "", err
	}
	if err := owned(found, spec.Labels[LabelStack]); err != nil {
		return "", err
	}
	if found.Spec.Labels[LabelSpec] == spec.Labels[LabelSpec] && sameScale(found.Spec, spec) && !paused(found) {
		return Unchanged, nil
	}
	// Without it a service that was forced to restart once would do so again.
	spec.TaskTemplate.ForceUpdate = found.Spec.TaskTemplate.ForceUpdate
	if _, err := e.ServiceUpdate(ctx, found.ID, found.Version, spec, api.ServiceUpdateOptions{EncodedRegistryAuth: auth}); err != nil {
		return "", fmt.Errorf("update service %s: %s", spec.Name, brief(err))
	}
	return Updated, nil
}

// Rollback puts back the version before the last update, which has to be there,
// and returns once it serves.
func (e *Engine) Rollback(ctx context.Context, name string) error {
	s, err := e.Service(ctx, name)
	if err != nil {
		return err
	}
	if s.PreviousSpec == nil {
		return fmt.Errorf("service %s has no version before this one", name)
	}
	if _, err := e.ServiceUpdate(ctx, s.ID, s.Version, s.Spec, api.ServiceUpdateOptions{Rollback: "previous", RegistryAuthFrom: api.RegistryAuthFromPreviousSpec}); err != nil {
		return fmt.Errorf("roll service %s back: %s", name, brief(err))
	}
	err = e.Converge(ctx, name, Updated, 0)
	var broken *TaskError
	if errors.As(err, &broken) && broken.RolledBack {
		return nil
	}
	return err
}

// paused says whether an update stopped half way; another one takes it on.
func paused(s api.Service) bool {
	return s.UpdateStatus != nil && (s.UpdateStatus.State == api.UpdateStatePaused || s.UpdateStatus.State == api.UpdateStateRollbackPaused)
}

// Service looks a service up by its exact name.
func (e *Engine) Service(ctx context.Context, name string) (api.Service, error) {
	s, _, err := e.ServiceInspectWithRaw(ctx, name, api.ServiceInspectOptions{})
	if err != nil {
		return s, fmt.Errorf("look for service %s: %w", name, err)
	}
	return s, nil
}

// stamp adds the digests to a copy of the spec.
func stamp(spec api.ServiceSpec) api.ServiceSpec {
	c := *spec.TaskTemplate.ContainerSpec
	c.Labels = with(c.Labels, LabelSpec, digest(spec.TaskTemplate))
	spec.TaskTemplate.ContainerSpec = &c
	scaleless := spec
	scaleless.Labels = maps.Clone(spec.Labels)
	delete(scaleless.Labels, LabelDeploy)
	if spec.Mode.Replicated != nil {
		scaleless.Mode = api.ServiceMode{Replicated: &api.ReplicatedService{}}
	}
	spec.Labels = with(spec.Labels, LabelSpec, digest(scaleless))
	return spec
}

// DeployOf is the number of the deploy that a spec comes from, 0 where it is not
// known.
func DeployOf(spec api.ServiceSpec) int {
	n, err := strconv.Atoi(spec.Labels[LabelDeploy])
	if err != nil {
		return 0
	}
	return n
}

func sameScale(a, b api.ServiceSpec) bool {
	if a.Mode.Replicated == nil || b.Mode.Replicated == nil || a.Mode.Replicated.Replicas == nil || b.Mode.Replicated.Replicas == nil {
		return a.Mode.Replicated == nil && b.Mode.Replicated == nil
	}
	return *a.Mode.Replicated.Replicas == *b.Mode.Replicated.Replicas
}

// Scale changes the number of tasks of a replicated service and nothing else.
func (e *Engine) Scale(ctx context.Context, name string, to int) (Change, error) {
	s, err := e.Service(ctx, name)
	if err != nil {
		return "", err
	}
	replicas := uint64(to) // #nosec G115 -- a number of tasks
	spec := s.Spec
	spec.Mode = api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &replicas}}
	if sameScale(s.Spec, spec) {
		return Unchanged, nil
	}
	if _, err := e.ServiceUpdate(ctx, s.ID, s.Version, spec, api.ServiceUpdateOptions{}); err != nil {
		return "", fmt.Errorf("scale service %s: %s", name, brief(err))
	}
	return Updated, nil
}

func with(labels map[string]string, key, value string) map[string]string {
	all := map[string]string{key: value}
	for k, v := range labels {
		all[k] = v
	}
	return all
}

func digest(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		// The API's types marshal by their nature.
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// RemoveService removes a service; its volumes stay.
func (e *Engine) RemoveService(ctx context.Context, name string) error {
	if err := e.ServiceRemove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove service %s: %s", name, brief(err))
	}
	return nil
}

package services

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// registryTimeout bounds the look-up of an image that nobody here has: without
// a network it would hang on DNS.
const registryTimeout = 30 * time.Second

// ship resolves the stack's images and brings those that no registry has to all
// nodes. It returns what each reference becomes in a service. All of them are
// looked for before any is sent.
func (x Executor) ship(ctx context.Context, manager *swarm.Engine, stack Stack) (map[string]string, error) {
	members, err := manager.Members(ctx)
	if err != nil {
		return nil, err
	}
	resolved, held := map[string]string{}, map[string]holding{}
	for _, s := range stack.Services {
		ref := s.TaskTemplate.ContainerSpec.Image
		if _, known := held[ref]; !known && resolved[ref] == "" {
			h, err := x.holder(ctx, manager, ref)
			if err != nil {
				return nil, err
			}
			if h.from == nil {
				resolved[ref] = h.id
			}
			held[ref] = h
		}
		if err := held[ref].runsOn(ref, platforms(members, s)); err != nil {
			return nil, err
		}
	}
	for ref, h := range held {
		if h.from == nil {
			continue
		}
		if resolved[ref], err = x.shipOne(ctx, ref, h); err != nil {
			return nil, err
		}
	}
	return resolved, nil
}

// shipOne brings an image that an engine has to the nodes that lack it, and
// returns its ID there. It travels by ID, which no agent ever pulls.
func (x Executor) shipOne(ctx context.Context, ref string, h holding) (string, error) {
	engines, err := x.Env.Engines(ctx)
	if err != nil {
		return "", err
	}
	lacking, err := swarm.Lacking(ctx, h.id, engines)
	if err != nil {
		return "", err
	}
	if len(lacking) == 0 {
		return h.id, nil
	}
	parcel, done, err := spool(ctx, h.from, ref)
	if err != nil {
		return "", err
	}
	defer done()
	return x.bring(ctx, parcel, engines)
}

// holding is an image and where it is.
type holding struct {
	from      *client.Client // the engine that has it; nil for a registry
	id        string         // in a service: an ID, or the reference with its digest
	platforms []ocispec.Platform
	labels    map[string]string
}

// holder looks for the image on this computer, then on the nodes, then in a
// registry, where it is pinned by its digest.
func (x Executor) holder(ctx context.Context, manager *swarm.Engine, ref string) (holding, error) {
	var engines []*client.Client
	if local, err := x.Local(); err == nil {
		engines = append(engines, local)
	}
	nodes, err := x.Env.Engines(ctx)
	if err != nil {
		return holding{}, err
	}
	for _, n := range nodes {
		engines = append(engines, n.Client)
	}
	for _, e := range engines {
		found, err := e.ImageInspect(ctx, ref)
		if err != nil {
			continue
		}
		h := holding{from: e, id: found.ID, platforms: []ocispec.Platform{{OS: found.Os, Architecture: found.Architecture}}}
		if found.Config != nil {
			h.labels = found.Config.Labels
		}
		return h, nil
	}
	return fromRegistry(ctx, manager, ref)
}

// imageLabel is what an image says of itself under a label, "" where it cannot
// be asked.
func (x Executor) imageLabel(ctx context.Context, manager *swarm.Engine, ref, label string) string {
	h, err := x.holder(ctx, manager, ref)
	if err != nil {
		return "" // the deploy will say so
	}
	return h.labels[label]
}

func fromRegistry(ctx context.Context, manager *swarm.Engine, ref string) (holding, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, registryTimeout, errors.New("no answer within "+registryTimeout.String()))
	defer cancel()
	pinned, platforms, err := manager.Pin(ctx, ref)
	if err != nil {
		return holding{}, fmt.Errorf("image %s is neither on this computer's engine nor on a node, and no registry gives it: %w", ref, err)
	}
	return holding{id: pinned, platforms: platforms}, nil
}

// runsOn refuses an image that some of the nodes cannot run. A registry that
// tells no platform is believed.
func (h holding) runsOn(ref string, nodes map[string]api.Platform) error {
	if len(h.platforms) == 0 {
		return nil
	}
	for _, node := range slices.Sorted(maps.Keys(nodes)) {
		arch := swarm.Architecture(nodes[node].Architecture)
		if arch != "" && !slices.ContainsFunc(h.platforms, func(p ocispec.Platform) bool { return swarm.Architecture(p.Architecture) == arch }) {
			var built []string
			for _, p := range h.platforms {
				built = append(built, p.Architecture)
			}
			return fmt.Errorf("image %s is for %s, and %s is %s: build it for both, or keep it off that node with --placement node.platform.arch!=%s",
				ref, strings.Join(built, ", "), node, arch, nodes[node].Architecture)
		}
	}
	return nil
}

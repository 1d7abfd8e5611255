package services

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"skep/images"
	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// source is what an image becomes in a service.
type source struct {
	ref  string // an ID, or the reference with its digest
	auth string // what its registry wants to see, or ""
}

// ship resolves the stack's images and brings those that no registry has to all
// nodes. It returns what each reference becomes in a service. All of them are
// looked for before any is sent.
func (x Executor) ship(ctx context.Context, manager *swarm.Engine, stack Stack) (map[string]source, error) {
	members, err := manager.Members(ctx)
	if err != nil {
		return nil, err
	}
	targets := map[string]map[string]api.Platform{}
	for _, s := range stack.Services {
		ref := s.TaskTemplate.ContainerSpec.Image
		if targets[ref] == nil {
			targets[ref] = map[string]api.Platform{}
		}
		maps.Copy(targets[ref], platforms(members, constraints(s)))
	}
	held := map[string]holding{}
	for ref, nodes := range targets {
		if held[ref], err = x.holder(ctx, manager, ref, nodes); err != nil {
			return nil, err
		}
	}
	found := map[string]source{}
	for ref, h := range held {
		if h.instead {
			x.Log.Info("the nodes got an image " + ref + " later than this computer's engine: theirs is deployed")
		}
		s := source{h.id, h.auth}
		if h.from != nil {
			if s.ref, err = x.shipOne(ctx, ref, h); err != nil {
				return nil, err
			}
		}
		found[ref] = s
	}
	return found, nil
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
	local     bool           // that engine is this computer's
	instead   bool           // of another one, which this computer's engine has under the name
	id        string         // in a service: an ID, or the reference with its digest
	auth      string         // for the registry
	named     time.Time      // when the engine gave it its name, where it tells
	platforms []ocispec.Platform
	labels    map[string]string
}

// holder looks for an image that the nodes can run: on this computer and on the
// nodes, then in a registry, where it is pinned by its digest. Where several
// images have the name, this computer's is meant, unless a node got its own
// later: by `skep app build`, or from another computer.
func (x Executor) holder(ctx context.Context, manager *swarm.Engine, ref string, nodes map[string]api.Platform) (holding, error) {
	held, err := x.held(ctx, ref)
	if err != nil {
		return holding{}, err
	}
	var misfit error
	fitting := slices.DeleteFunc(held, func(h holding) bool {
		err := h.runsOn(ref, nodes)
		if misfit == nil {
			misfit = err
		}
		return err != nil
	})
	if len(fitting) == 0 {
		h, err := x.fromRegistry(ctx, manager, ref)
		switch {
		case err == nil:
			err = h.runsOn(ref, nodes)
		case misfit != nil:
			err = misfit
		}
		return h, err
	}
	return meant(fitting), nil
}

// meant is the image that a name means, of those that have it.
func meant(held []holding) holding {
	best := held[0]
	for _, h := range held[1:] {
		if h.id != best.id && h.named.After(best.named) && (!best.local || !best.named.IsZero()) {
			best = h
		}
	}
	best.instead = held[0].local && best.id != held[0].id
	return best
}

// held are the images of the name that engines have, this computer's first.
func (x Executor) held(ctx context.Context, ref string) ([]holding, error) {
	nodes, err := x.Env.Engines(ctx)
	if err != nil {
		return nil, err
	}
	var engines []holding
	if local, err := x.Local(); err == nil {
		engines = append(engines, holding{from: local, local: true})
	}
	for _, n := range nodes {
		engines = append(engines, holding{from: n.Client})
	}
	var looking sync.WaitGroup
	for i := range engines {
		looking.Go(func() {
			h := &engines[i]
			found, err := h.from.ImageInspect(ctx, ref)
			if err != nil {
				return // it has none
			}
			h.id, h.named = found.ID, found.Metadata.LastTagTime
			h.platforms = []ocispec.Platform{{OS: found.Os, Architecture: found.Architecture}}
			if found.Config != nil {
				h.labels = found.Config.Labels
			}
		})
	}
	looking.Wait()
	return slices.DeleteFunc(engines, func(h holding) bool { return h.id == "" }), context.Cause(ctx)
}

// imageLabel is what the app's image says of itself under a label.
func (x Executor) imageLabel(ctx context.Context, manager *swarm.Engine, o AppOptions, label string) (string, error) {
	members, err := manager.Members(ctx)
	if err != nil {
		return "", err
	}
	nodes := platforms(members, o.Placement.Constraints)
	h, err := x.holder(ctx, manager, o.Image, nodes)
	if err != nil || h.from != nil || len(nodes) == 0 {
		return h.labels[label], err
	}
	// Engines do not tell what a registry's image says of itself.
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	p := nodes[slices.Min(slices.Collect(maps.Keys(nodes)))]
	labels, err := images.Labels(ctx, o.Image, v1.Platform{OS: p.OS, Architecture: swarm.Architecture(p.Architecture)})
	if err != nil {
		x.Log.Warn("whether the image has a probe of its own cannot be seen from here", "error", err)
	}
	return labels[label], nil
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
			return fmt.Errorf("image %s is for %s, and %s is %s: have it in a registry for both, or keep it off that node with --placement node.platform.arch!=%s",
				ref, strings.Join(built, ", "), node, arch, nodes[node].Architecture)
		}
	}
	return nil
}

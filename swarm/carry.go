package swarm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	api "github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"
)

// LocalDriver is what nodes on this computer are labelled with: no uplink is
// between, and the way from node to node is no shorter than the one from here.
const (
	LocalDriver = "docker"
	localRegion = "local"
)

// Carriage is an image on its way to engines: once to each region, whose first
// node passes it on to its neighbours, less the layers that all of them have.
type Carriage struct {
	Cargo   Cargo
	Name    string // that it gets; "" is none
	Members []api.Node
	Begin   func(lacking int) // told before anything is sent
	Told    func(Sent)
	Warn    func(node string, err error) // of a node that has to be sent to from here
}

// Bring sees to it that all engines have the image, and returns its ID there.
func (c Carriage) Bring(ctx context.Context, engines []*Engine) (string, error) {
	ids := c.Cargo.IDs()
	held := make([]string, len(engines))
	look := func(i int, e *Engine) (err error) {
		held[i], err = e.Holds(ctx, ids)
		return err
	}
	if err := each(engines, look); err != nil {
		return "", err
	}
	var lacking []*Engine
	for i, e := range engines {
		if held[i] == "" {
			lacking = append(lacking, e)
		}
	}
	if len(lacking) > 0 {
		c.Begin(len(lacking))
		if err := c.deliver(ctx, lacking); err != nil {
			return "", err
		}
		if err := each(engines, look); err != nil {
			return "", err
		}
	}
	for i, e := range engines {
		switch held[i] {
		case "":
			return "", fmt.Errorf("%s took image %s but does not know it by its ID", e.Node(), cmp.Or(c.Name, ids[0]))
		case held[0]:
		default:
			return "", fmt.Errorf("%s keeps images otherwise than %s, so %s has another ID there: bring all engines to one image store", e.Node(), engines[0].Node(), cmp.Or(c.Name, ids[0]))
		}
	}
	if c.Name == "" {
		return held[0], nil
	}
	// Loading alone does not tell when the engine was given the name.
	return held[0], each(engines, func(_ int, e *Engine) error { return e.Tag(ctx, held[0], c.Name) })
}

// each does something for all engines at once.
func each(engines []*Engine, do func(i int, e *Engine) error) error {
	var g errgroup.Group
	for i, e := range engines {
		g.Go(func() error { return do(i, e) })
	}
	return g.Wait()
}

func (c Carriage) deliver(ctx context.Context, lacking []*Engine) error {
	groups := c.groups(lacking)
	errs := make([]error, len(groups))
	var sending sync.WaitGroup
	for i, group := range groups {
		sending.Go(func() { errs[i] = c.send(ctx, group) })
	}
	sending.Wait()
	return errors.Join(errs...)
}

// groups puts engines that are sent to by way of one of them together.
func (c Carriage) groups(engines []*Engine) [][]*Engine {
	byRegion := map[string][]*Engine{}
	for _, e := range engines {
		n, _ := Member(c.Members, e.Node())
		region := n.Spec.Labels[LabelRegion]
		group := region + "\x00" + e.Key()
		if region == "" || e.Key() == "" || n.Spec.Labels[LabelDriver] == LocalDriver && region == localRegion {
			group = "\x00" + e.Node() // by itself
		}
		byRegion[group] = append(byRegion[group], e)
	}
	var groups [][]*Engine
	for _, region := range slices.Sorted(maps.Keys(byRegion)) {
		groups = append(groups, byRegion[region])
	}
	return groups
}

// send sends to the first of a group, and by way of it to the others. Those
// that it cannot reach are sent to from here.
func (c Carriage) send(ctx context.Context, group []*Engine) error {
	skip := make([]int, len(group))
	_ = each(group, func(i int, e *Engine) error {
		skip[i] = e.Knows(ctx, c.Cargo.Layers())
		return nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(group) == 1 {
		return group[0].Send(ctx, c.Cargo, skip[0], c.Told)
	}
	var neighbours []Neighbour
	for _, e := range group[1:] {
		n, _ := Member(c.Members, e.Node())
		neighbours = append(neighbours, Neighbour{Engine: e, Address: n.Status.Addr})
	}
	told := func(s Sent) {
		c.Told(s)
		for _, n := range neighbours { // which take it as fast
			c.Told(Sent{Node: n.Node(), By: s.Node, Bytes: s.Bytes, Size: s.Size})
		}
	}
	missed, err := group[0].SendThrough(ctx, c.Cargo, slices.Min(skip), neighbours, told)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil { // the first node itself has no way for it
		c.Warn(group[0].Node(), err)
		missed = map[string]error{}
		for _, e := range group {
			missed[e.Node()] = err
		}
	}
	var errs []error
	for i, e := range group {
		why, failed := missed[e.Node()]
		if !failed {
			continue
		}
		if err == nil {
			c.Warn(e.Node(), why)
		}
		errs = append(errs, e.Send(ctx, c.Cargo, skip[i], c.Told))
	}
	return errors.Join(errs...)
}

// Fitting are the engines whose machines run programs of the architecture, as
// images name it.
func Fitting(members []api.Node, engines []*Engine, architecture string) []*Engine {
	return slices.DeleteFunc(slices.Clone(engines), func(e *Engine) bool {
		n, _ := Member(members, e.Node())
		return Architecture(n.Description.Platform.Architecture) != architecture
	})
}

package services

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"skep/images"
	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
)

// Nodes of this driver are on this computer: no uplink is between, and the way
// from node to node is no shorter than the one from here.
const (
	driverLabel = "skep.driver"
	localDriver = "docker"
	localRegion = "local"
)

// Progress is told how the sending of images goes.
type Progress interface {
	// Begin starts the telling of an image that goes to so many of the nodes.
	Begin(image string, lacking, nodes int)
	Sent(swarm.Sent)
	End()
}

// spool reads an image of an engine into a file, from which any part of it can
// be sent to any node at its own pace. Sending it as it is read would be slower:
// reading and loading then take the processor from each other.
func spool(ctx context.Context, from *client.Client, ref string) (*images.Parcel, func(), error) {
	stream, err := from.ImageSave(ctx, []string{ref})
	if err != nil {
		return nil, nil, fmt.Errorf("read image %s: %w", ref, err)
	}
	defer func() { _ = stream.Close() }()
	file, err := os.CreateTemp("", "skep-image-*.tar")
	if err != nil {
		return nil, nil, fmt.Errorf("make a file for image %s: %w", ref, err)
	}
	done := func() { _ = errors.Join(file.Close(), os.Remove(file.Name())) }
	if _, err := io.CopyBuffer(struct{ io.Writer }{file}, struct{ io.Reader }{stream}, make([]byte, 1<<20)); err != nil {
		done()
		return nil, nil, fmt.Errorf("read image %s: %w", ref, err)
	}
	name := ref
	if strings.HasPrefix(ref, "sha256:") {
		name = "" // an ID is no name
	}
	parcel, err := images.Unpack(name, file)
	if err != nil {
		done()
		return nil, nil, err
	}
	return parcel, done, nil
}

// deliver sends an image to the engines that lack it: once to each region, whose
// first node passes it on to its neighbours, less the layers that all of them have.
func (x Executor) deliver(ctx context.Context, parcel *images.Parcel, lacking []*swarm.Engine, nodes int) error {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return err
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return err
	}
	progress := x.Progress
	if progress == nil {
		progress = silent{}
	}
	progress.Begin(parcel.Name, len(lacking), nodes)
	defer progress.End()
	d := &delivery{parcel: parcel, told: progress.Sent, members: members, warn: func(node string, err error) {
		x.Log.Warn("its neighbour could not pass the image on; sending it from here", "node", node, "error", err)
	}}
	groups := d.groups(lacking)
	errs := make([]error, len(groups))
	var sending sync.WaitGroup
	for i, group := range groups {
		sending.Go(func() { errs[i] = d.send(ctx, group) })
	}
	sending.Wait()
	return errors.Join(errs...)
}

// silent is a Progress that nobody sees.
type silent struct{}

func (silent) Begin(string, int, int) {}
func (silent) Sent(swarm.Sent)        {}
func (silent) End()                   {}

// delivery is one image on its way.
type delivery struct {
	parcel  *images.Parcel
	members []api.Node
	told    func(swarm.Sent)
	warn    func(node string, err error)
}

// groups puts engines that are sent to by way of one of them together.
func (d *delivery) groups(engines []*swarm.Engine) [][]*swarm.Engine {
	byRegion := map[string][]*swarm.Engine{}
	for _, e := range engines {
		n, _ := swarm.Member(d.members, e.Node())
		region := n.Spec.Labels[regionLabel]
		group := region + "\x00" + e.Key()
		if region == "" || e.Key() == "" || n.Spec.Labels[driverLabel] == localDriver && region == localRegion {
			group = "\x00" + e.Node() // by itself
		}
		byRegion[group] = append(byRegion[group], e)
	}
	var groups [][]*swarm.Engine
	for _, region := range slices.Sorted(maps.Keys(byRegion)) {
		groups = append(groups, byRegion[region])
	}
	return groups
}

// send sends to the first of a group, and by way of it to the others. Those
// that it cannot reach are sent to from here.
func (d *delivery) send(ctx context.Context, group []*swarm.Engine) error {
	skip := make([]int, len(group))
	for i, e := range group {
		var err error
		if skip[i], err = e.Knows(ctx, d.parcel.Layers()); err != nil {
			return err
		}
	}
	if len(group) == 1 {
		return group[0].Send(ctx, d.parcel, skip[0], d.told)
	}
	var neighbours []swarm.Neighbour
	for _, e := range group[1:] {
		n, _ := swarm.Member(d.members, e.Node())
		neighbours = append(neighbours, swarm.Neighbour{Engine: e, Address: n.Status.Addr})
	}
	missed, err := group[0].SendThrough(ctx, d.parcel, slices.Min(skip), neighbours, d.told)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil { // the first node itself has no way for it
		d.warn(group[0].Node(), err)
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
			d.warn(e.Node(), why)
		}
		errs = append(errs, e.Send(ctx, d.parcel, skip[i], d.told))
	}
	return errors.Join(errs...)
}

// SendBuilt sends images that were just built to the nodes whose platform each
// is for, under their name, and tells what they are called there.
func (x Executor) SendBuilt(ctx context.Context, name string, built images.Built) (map[string]string, error) {
	unlock, err := x.Env.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	engines, err := x.Env.Engines(ctx)
	if err != nil {
		return nil, err
	}
	arch, err := x.Architectures(ctx)
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for _, image := range built.Images {
		parcel, err := images.Pack(name, image)
		if err != nil {
			return nil, err
		}
		fitting := slices.DeleteFunc(slices.Clone(engines), func(e *swarm.Engine) bool { return arch[e.Node()] != image.Platform.Architecture })
		if len(fitting) == 0 {
			x.Log.Info("no node is " + image.Platform.String())
			continue
		}
		id, err := x.bring(ctx, parcel, fitting)
		if err != nil {
			return nil, err
		}
		ids[image.Platform.String()] = id
	}
	return ids, nil
}

// Architectures are those of the nodes, by name.
func (x Executor) Architectures(ctx context.Context) (map[string]string, error) {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return nil, err
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, n := range members {
		found[n.Description.Hostname] = swarm.Architecture(n.Description.Platform.Architecture)
	}
	return found, nil
}

// bring sees to it that all engines have the image under its name, and returns
// its ID there.
func (x Executor) bring(ctx context.Context, parcel *images.Parcel, engines []*swarm.Engine) (string, error) {
	ids := parcel.IDs()
	var lacking []*swarm.Engine
	for _, e := range engines {
		id, err := e.Holds(ctx, ids)
		if err != nil {
			return "", err
		}
		switch {
		case id == "":
			lacking = append(lacking, e)
		case parcel.Name != "":
			if err := e.Tag(ctx, id, parcel.Name); err != nil {
				return "", err
			}
		}
	}
	if len(lacking) > 0 {
		if err := x.deliver(ctx, parcel, lacking, len(engines)); err != nil {
			return "", err
		}
	}
	id := ""
	for _, e := range engines {
		has, err := e.Holds(ctx, ids)
		if err != nil {
			return "", err
		}
		if has == "" {
			return "", fmt.Errorf("%s took image %s but does not know it by its ID", e.Node(), cmp.Or(parcel.Name, ids[0]))
		}
		if id != "" && id != has {
			return "", fmt.Errorf("%s keeps images otherwise than %s, so %s has another ID there: bring all engines to one image store", e.Node(), engines[0].Node(), cmp.Or(parcel.Name, ids[0]))
		}
		id = has
	}
	return id, nil
}

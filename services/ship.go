package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"skep/images"
	"skep/swarm"

	"github.com/docker/docker/client"
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

// silent is a Progress that nobody sees.
type silent struct{}

func (silent) Begin(string, int, int) {}
func (silent) Sent(swarm.Sent)        {}
func (silent) End()                   {}

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
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return "", err
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return "", err
	}
	progress := x.Progress
	if progress == nil {
		progress = silent{}
	}
	begun := false
	c := swarm.Carriage{
		Cargo: parcel, Name: parcel.Name, Members: members, Told: progress.Sent,
		Begin: func(lacking int) {
			begun = true
			progress.Begin(parcel.Name, lacking, len(engines))
		},
		Warn: func(node string, err error) {
			x.Log.Warn("the image could not be passed on; sending it from here", "node", node, "error", err)
		},
	}
	id, err := c.Bring(ctx, engines)
	if begun {
		progress.End()
	}
	return id, err
}

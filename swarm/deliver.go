package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	imageapi "github.com/docker/docker/api/types/image"
)

// Cargo is an image that can be sent to engines.
type Cargo interface {
	// IDs are what engines may call it, whichever way they keep images.
	IDs() []string
	// Layers are the digests of its layers' plain contents, from the bottom.
	Layers() []string
	// Size is how many bytes WriteTo writes.
	Size(skip int) (int64, error)
	// WriteTo writes what an engine loads, less the lowest layers.
	WriteTo(w io.Writer, skip int) error
}

// Sent is how far the sending to a node is.
type Sent struct {
	Node        string
	By          string // the neighbour that passes it on, "" for this computer
	Bytes, Size int64
}

// Holds says under which of its IDs an engine has the image, "" for none.
func (e *Engine) Holds(ctx context.Context, ids []string) (string, error) {
	for _, id := range ids {
		has, err := e.Has(ctx, id)
		if err != nil {
			return "", err
		}
		if has {
			return id, nil
		}
	}
	return "", nil
}

// Tag gives an image that the engine has a name.
func (e *Engine) Tag(ctx context.Context, id, name string) error {
	if err := e.ImageTag(ctx, id, name); err != nil {
		return fmt.Errorf("name image %s %s on %s: %s", id, name, e.Node(), brief(err))
	}
	return nil
}

// Knows is how many of an image's lowest layers the engine has already, as the
// lowest ones of some other image. An engine looks for a layer by the chain of
// those below it, before it reads the layer's file: measured on 20.10. Engines
// that keep images in containerd look for compressed blobs, which nobody can
// ask them for: they are taken to have none, as one that does not answer is.
func (e *Engine) Knows(ctx context.Context, layers []string) int {
	info, err := e.Info(ctx)
	if err != nil {
		return 0
	}
	for _, pair := range info.DriverStatus {
		if strings.HasPrefix(pair[1], "io.containerd.") {
			return 0
		}
	}
	all, err := e.ImageList(ctx, imageapi.ListOptions{})
	if err != nil {
		return 0
	}
	counts := make([]int, len(all))
	var looking sync.WaitGroup
	for i, one := range all {
		looking.Go(func() {
			// One that is removed meanwhile has no layers to offer.
			if found, err := e.ImageInspect(ctx, one.ID); err == nil {
				counts[i] = common(found.RootFS.Layers, layers)
			}
		})
	}
	looking.Wait()
	return slices.Max(append(counts, 0))
}

// common is how many layers two images have in common, from the bottom.
func common(a, b []string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// Send writes the image to one engine.
func (e *Engine) Send(ctx context.Context, cargo Cargo, skip int, told func(Sent)) error {
	stream, written, err := e.stream(cargo, skip, told)
	if err != nil {
		return err
	}
	err = load(ctx, e, stream)
	_ = stream.CloseWithError(errors.New("load ended"))
	return errors.Join(err, <-written)
}

// stream gives what the cargo writes to a reader, counting it. The channel tells
// how the writing ended once the reader was closed; that the reader had enough
// is no error.
func (e *Engine) stream(cargo Cargo, skip int, told func(Sent)) (*io.PipeReader, <-chan error, error) {
	size, err := cargo.Size(skip)
	if err != nil {
		return nil, nil, err
	}
	r, w := io.Pipe()
	written := make(chan error, 1)
	meter := &meter{to: w, sent: Sent{Node: e.Node(), Size: size}, told: told}
	go func() {
		err := cargo.WriteTo(meter, skip)
		if meter.closed {
			err = nil
		}
		_ = w.CloseWithError(err)
		written <- err
	}()
	return r, written, nil
}

// meter counts what goes through it.
type meter struct {
	to     io.Writer
	sent   Sent
	told   func(Sent)
	closed bool // the other end wants no more
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.to.Write(p)
	m.closed = err != nil
	m.sent.Bytes += int64(n)
	m.told(m.sent)
	return n, err
}

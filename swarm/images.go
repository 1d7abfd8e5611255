package swarm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/jsonmessage"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

func filter(key, value string) filters.Args { return filters.NewArgs(filters.Arg(key, value)) }

// Has says whether an engine holds the image.
func (e *Engine) Has(ctx context.Context, image string) (bool, error) {
	_, err := e.ImageInspect(ctx, image)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for image %s on %s: %s", image, e.Node(), brief(err))
	}
	return true, nil
}

// Lacking picks the engines that do not hold the image.
func Lacking(ctx context.Context, image string, engines []*Engine) ([]*Engine, error) {
	has := make([]bool, len(engines))
	err := each(engines, func(i int, e *Engine) (err error) {
		has[i], err = e.Has(ctx, image)
		return err
	})
	if err != nil {
		return nil, err
	}
	var lacking []*Engine
	for i, e := range engines {
		if !has[i] {
			lacking = append(lacking, e)
		}
	}
	return lacking, nil
}

// Ship streams an image from one engine to others: one read of it for all,
// never the whole of it in memory. It goes at the pace of the slowest; one that
// fails does not hold up the rest.
func Ship(ctx context.Context, from *client.Client, image string, to []*Engine) error {
	if len(to) == 0 {
		return nil
	}
	stream, err := from.ImageSave(ctx, []string{image})
	if err != nil {
		return fmt.Errorf("read image %s: %s", image, brief(err))
	}
	defer func() { _ = stream.Close() }()
	if err := Load(ctx, stream, to); err != nil {
		return fmt.Errorf("send image %s: %w", image, err)
	}
	return nil
}

// Load streams an image, as `docker save` writes it, to all engines at once.
func Load(ctx context.Context, stream io.Reader, to []*Engine) error {
	errs := make([]error, len(to))
	fan := make(fanout, len(to))
	var loads errgroup.Group
	for i, e := range to {
		r, w := io.Pipe()
		fan[i] = w
		loads.Go(func() error {
			errs[i] = load(ctx, e, r)
			// Writes to a load that ended fail from here on.
			_ = r.CloseWithError(errors.New("load ended"))
			return nil
		})
	}
	_, err := io.CopyBuffer(fan, struct{ io.Reader }{stream}, make([]byte, 1<<18))
	if errors.Is(err, errAllEnded) {
		err = nil // errs tells why
	}
	fan.close(err)
	_ = loads.Wait()
	if err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	return errors.Join(errs...)
}

func load(ctx context.Context, e *Engine, image io.Reader) error {
	defer e.conn.Labour()()
	done, err := e.ImageLoad(ctx, image, client.ImageLoadWithQuiet(true))
	if err != nil {
		return fmt.Errorf("load an image on %s: %s", e.Node(), brief(cmp.Or(e.conn.GivenUp(), err)))
	}
	defer func() { _ = done.Body.Close() }()
	for messages := json.NewDecoder(done.Body); ; {
		var m jsonmessage.JSONMessage
		switch err := messages.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("load an image on %s: %w", e.Node(), cmp.Or(e.conn.GivenUp(), err))
		case m.Error != nil:
			return fmt.Errorf("load an image on %s: %w", e.Node(), m.Error)
		case strings.HasPrefix(m.Stream, "Error unpacking"): // of engines that keep images in containerd
			return fmt.Errorf("load an image on %s: %s", e.Node(), strings.TrimSpace(m.Stream))
		}
	}
}

// fanout writes to all of its pipes that still take anything.
type fanout []*io.PipeWriter

var errAllEnded = errors.New("every load ended")

func (f fanout) Write(p []byte) (int, error) {
	open := 0
	for i, w := range f {
		if w == nil {
			continue
		}
		if _, err := w.Write(p); err != nil {
			f[i] = nil
			continue
		}
		open++
	}
	if open == 0 {
		return 0, errAllEnded
	}
	return len(p), nil
}

func (f fanout) close(err error) {
	for _, w := range slices.DeleteFunc(f, func(w *io.PipeWriter) bool { return w == nil }) {
		_ = w.CloseWithError(err)
	}
}

// Pin asks the image's registry for its digest and returns the reference with
// it, and the platforms that it is built for, as far as the registry tells. auth
// is as in Apply.
func (e *Engine) Pin(ctx context.Context, image, auth string) (string, []ocispec.Platform, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", nil, err
	}
	found, err := e.DistributionInspect(ctx, image, auth)
	if err != nil {
		if ctx.Err() != nil {
			return "", nil, context.Cause(ctx)
		}
		return "", nil, errors.New(brief(err))
	}
	if _, ok := named.(reference.Digested); ok {
		return named.String(), found.Platforms, nil
	}
	pinned, err := reference.WithDigest(reference.TagNameOnly(named), found.Descriptor.Digest)
	if err != nil {
		return "", nil, err
	}
	return pinned.String(), found.Platforms, nil
}

// Architecture is one name for each: engines say x86_64 of a node and amd64 of
// an image.
func Architecture(name string) string {
	switch name {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "armv7l", "armv6l", "armhf":
		return "arm"
	case "i386", "i686":
		return "386"
	}
	return name
}

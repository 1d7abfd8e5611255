// Package images makes and pushes container images of Go programs with no
// Docker engine: it compiles, lays the files out in layers and writes them as
// OCI images, the same bytes for the same input.
//
// It depends on the go command and on go-containerregistry, and must not know
// engines, swarms or environments.
package images

import (
	"context"
	"errors"
	"fmt"
	"go/build"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"skep/usage"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// Options say what an image is made of.
type Options struct {
	Source    string   // folder of a main package
	Env       []string // K=V, in the image
	Ports     []string // PORT or PORT/udp that the program listens on
	Files     []string // FILE or FILE:/PLACE, put into the image
	Tree      string   // a git tree-ish whose files are put into the image's root, or ""
	Base      string   // the image to begin with; "" is none
	Platforms []string // os/arch; none is linux and this computer's architecture
	Format    bool     // mend the format of the source
	Cache     string   // folder for what takes long to make
	Work      string   // folder for the files of this build, which the images read from
	Log       *slog.Logger
}

// Image is one image of a build.
type Image struct {
	Platform v1.Platform
	v1.Image
}

// Built is what a build made: an image for each platform.
type Built struct {
	Images  []Image
	Version string // of the source, as git describes it, or ""
}

// Check refuses what cannot be built.
func (o Options) Check() error {
	for _, e := range o.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return usage.Errorf("%q is not a variable: use NAME=VALUE", e)
		}
	}
	for _, p := range o.Ports {
		if err := checkPort(p); err != nil {
			return err
		}
	}
	_, err := o.platforms()
	return err
}

func checkPort(text string) error {
	number, protocol, named := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 65535 || named && protocol != "tcp" && protocol != "udp" {
		return usage.Errorf("%q is not a port: use 1 to 65535, with /udp where it is no TCP port", text)
	}
	return nil
}

func (o Options) platforms() ([]v1.Platform, error) {
	named := o.Platforms
	if len(named) == 0 {
		named = []string{"linux/" + runtime.GOARCH}
	}
	var all []v1.Platform
	for _, text := range named {
		p, err := v1.ParsePlatform(text)
		if err != nil || p.OS != "linux" || p.Architecture == "" || p.OSVersion != "" {
			return nil, usage.Errorf("%q is not a platform: use linux/amd64, linux/arm64 or linux/arm/v7", text)
		}
		all = append(all, *p)
	}
	return all, nil
}

// Build compiles the program for every platform and makes an image of each. It
// leaves nothing in the source's folder. What gofmt and go vet find is told,
// and stops nothing.
func Build(ctx context.Context, o Options) (Built, error) {
	if err := o.Check(); err != nil {
		return Built{}, err
	}
	platforms, err := o.platforms()
	if err != nil {
		return Built{}, err
	}
	source, err := filepath.Abs(o.Source)
	if err != nil {
		return Built{}, err
	}
	o.Source = source
	if err := o.isMain(platforms[0]); err != nil {
		return Built{}, err
	}
	if reserved(o.name()) {
		return Built{}, fmt.Errorf("a program cannot be called %s in an image, as its folder is: rename %s", o.name(), o.Source)
	}
	for _, f := range o.Files { // before it takes long
		if _, _, err := added(f); err != nil {
			return Built{}, err
		}
	}
	if o.Format { // before anything reads the source
		if err := o.gofmt(ctx); err != nil {
			return Built{}, err
		}
	}
	built := Built{Version: o.describe(ctx), Images: make([]Image, len(platforms))}
	var g errgroup.Group
	if !o.Format {
		g.Go(func() error { return o.gofmt(ctx) })
	}
	g.Go(func() error { return o.vet(ctx, platforms[0]) })
	common := sync.OnceValues(func() ([]v1.Layer, error) { return o.commonLayers(ctx) })
	for i, p := range platforms {
		g.Go(func() error {
			image, err := o.image(ctx, p, built.Version, common)
			built.Images[i] = Image{p, image}
			return err
		})
	}
	return built, g.Wait()
}

// isMain refuses a folder that has no program.
func (o Options) isMain(p v1.Platform) error {
	if info, err := os.Stat(o.Source); err != nil || !info.IsDir() {
		return fmt.Errorf("there is no folder %s", o.Source)
	}
	c := build.Default
	c.GOOS, c.GOARCH, c.CgoEnabled = p.OS, p.Architecture, false
	found, err := c.ImportDir(o.Source, 0)
	var none *build.NoGoError
	switch {
	case errors.As(err, &none):
		return fmt.Errorf("%s has no Go program for %s", o.Source, p)
	case err != nil:
		return fmt.Errorf("read %s: %w", o.Source, err)
	case found.Name != "main":
		return fmt.Errorf("%s is package %s, not a program", o.Source, found.Name)
	}
	return nil
}

// name is that of the program in the image.
func (o Options) name() string { return filepath.Base(o.Source) }

// image compiles for one platform and puts the layers together: what changes
// most comes last, so that a new version sends no more than itself.
func (o Options) image(ctx context.Context, p v1.Platform, version string, common func() ([]v1.Layer, error)) (v1.Image, error) {
	var base v1.Image
	var below []v1.Layer
	var probe, program v1.Layer
	var g errgroup.Group
	g.Go(func() (err error) { program, err = o.programLayer(ctx, p, version); return err })
	g.Go(func() (err error) { base, err = o.base(ctx, p); return err })
	g.Go(func() (err error) { below, err = common(); return err })
	g.Go(func() (err error) { probe, err = o.probeLayer(ctx, p); return err })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var layers []mutate.Addendum
	for _, l := range append(append([]v1.Layer{}, below...), probe, program) {
		layers = append(layers, mutate.Addendum{Layer: l, History: v1.History{Created: epoch(), CreatedBy: "skep app build"}})
	}
	image, err := mutate.Append(base, layers...)
	if err != nil {
		return nil, fmt.Errorf("put the image together: %w", err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	o.configure(file, p, version)
	if image, err = mutate.ConfigFile(image, file); err != nil {
		return nil, fmt.Errorf("put the image together: %w", err)
	}
	return image, nil
}

// epoch is when all images are made: a true time would make two of the same differ.
func epoch() v1.Time { return v1.Time{Time: time.Unix(0, 0).UTC()} }

// configure says how the image is run.
func (o Options) configure(file *v1.ConfigFile, p v1.Platform, version string) {
	file.OS, file.Architecture, file.Variant = p.OS, p.Architecture, p.Variant
	file.Created, file.Author = epoch(), ""
	c := &file.Config
	c.Entrypoint, c.Cmd = []string{path.Join("/", o.name())}, nil
	c.User, c.WorkingDir = fmt.Sprintf("%d:%d", userID, userID), "/"
	c.Env = append(c.Env, o.Env...)
	if c.ExposedPorts == nil {
		c.ExposedPorts = map[string]struct{}{}
	}
	for _, port := range o.Ports {
		if !strings.Contains(port, "/") {
			port += "/tcp"
		}
		c.ExposedPorts[port] = struct{}{}
	}
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	c.Labels[ProbeLabel] = probePlace
	if version != "" {
		c.Labels["org.opencontainers.image.version"] = version
	}
}

// Index is one image for all platforms, as registries keep it.
func (b Built) Index() v1.ImageIndex {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range b.Images {
		p := image.Platform
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image.Image, Descriptor: v1.Descriptor{Platform: &p}})
	}
	return index
}

// Digest is that of the one image, or of the index of all.
func (b Built) Digest() (v1.Hash, error) {
	if len(b.Images) == 1 {
		return b.Images[0].Digest()
	}
	return b.Index().Digest()
}

package images

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"skep/usage"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// userID is whom programs run as.
const userID = 65532

const (
	passwd = /* #nosec G101 -- none has a password */ "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"
	group  = "root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n"
)

// base is the image to begin with.
func (o Options) base(ctx context.Context, p v1.Platform) (v1.Image, error) {
	if o.Base != "" {
		return pull(ctx, o.Base, p)
	}
	return mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), nil
}

// commonLayers are the same for all platforms: users, certificates and folders
// where there is no base, then the git tree, then single files.
func (o Options) commonLayers(ctx context.Context) ([]v1.Layer, error) {
	var fills []func(*layerWriter) error
	if o.Base == "" {
		fills = append(fills, ground)
	}
	if o.Tree != "" {
		out, err := o.command(ctx, nil, "git", "-c", "safe.directory=*", "archive", "--format=tar", o.Tree)
		var failed *toolError
		if errors.As(err, &failed) {
			return nil, fmt.Errorf("git has no tree %s in %s: %s", o.Tree, o.Source, failed.words)
		}
		if err != nil {
			return nil, err
		}
		fills = append(fills, func(w *layerWriter) error { return w.tree(strings.NewReader(out)) })
	}
	if len(o.Files) > 0 {
		fills = append(fills, o.addFiles)
	}
	var layers []v1.Layer
	for _, fill := range fills {
		l, err := o.writeLayer(fill)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return layers, nil
}

// ground is what a static program expects of a system. Volumes take the owner
// of the folder that they are mounted over.
func ground(w *layerWriter) error {
	return errors.Join(
		w.dir("appdata", 0o755, userID),
		w.bytes("etc/group", 0o644, []byte(group)),
		w.bytes("etc/passwd", 0o644, []byte(passwd)),
		w.bytes("etc/ssl/certs/ca-certificates.crt", 0o644, certificates()),
		w.dir("tmp", 0o1777, 0),
	)
}

// certificates are Mozilla's, which no computer's own installation changes.
// Those that are to be trusted in part only cannot be told apart in a file.
func certificates() []byte {
	var all bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return all.Bytes()
}

// addFiles adds FILE or FILE:/PLACE, by default under its own name.
func (o Options) addFiles(w *layerWriter) error {
	for _, f := range sorted(o.Files) {
		from, place, named := strings.Cut(f, ":/")
		if from == "" {
			return usage.Errorf("%q is not a file: use FILE or FILE:/PLACE", f)
		}
		if !named {
			place = filepath.Base(from)
		}
		if err := w.file(path.Join("/", place), from); err != nil {
			return err
		}
	}
	return nil
}

func (o Options) probeLayer(ctx context.Context, p v1.Platform) (v1.Layer, error) {
	file, err := o.probe(ctx, p)
	if err != nil {
		return nil, err
	}
	return o.writeLayer(func(w *layerWriter) error { return w.program(probePlace, file) })
}

func (o Options) programLayer(ctx context.Context, p v1.Platform, version string) (v1.Layer, error) {
	file := filepath.Join(o.Work, strings.ReplaceAll(p.String(), "/", "-")+"-program")
	if err := o.compile(ctx, p, version, file, "."); err != nil {
		return nil, err
	}
	return o.writeLayer(func(w *layerWriter) error { return w.program(o.name(), file) })
}

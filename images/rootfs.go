package images

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
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

// Folders that are in every image: for data, and for what does not stay.
const (
	dataFolder = "appdata"
	tmpFolder  = "tmp"
)

// reserved are the names in an image's root that no program may have.
func reserved(name string) bool {
	return slices.Contains([]string{dataFolder, tmpFolder, "dev", "etc", "proc", "run", "sys"}, name)
}

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

// commonLayers are the same for all platforms: folders, and users and certificates
// where there is no base that has its own, then the git tree, then single files.
func (o Options) commonLayers(ctx context.Context) ([]v1.Layer, error) {
	fills := []func(*layerWriter) error{o.ground}
	if o.Tree != "" {
		fills = append(fills, func(w *layerWriter) error { return o.addTree(ctx, w) })
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

// ground is what a static program expects of a system.
func (o Options) ground(w *layerWriter) error {
	err := w.dir(dataFolder)
	if o.Base == "" {
		err = errors.Join(err,
			w.bytes("etc/group", 0o644, []byte(group)),
			w.bytes("etc/passwd", 0o644, []byte(passwd)),
			w.bytes("etc/ssl/certs/ca-certificates.crt", 0o644, certificates()),
		)
	}
	return errors.Join(err, w.dir(tmpFolder))
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

// addTree adds the files of a git tree as git writes them.
func (o Options) addTree(ctx context.Context, w *layerWriter) error {
	r, out := io.Pipe()
	go func() {
		_ = out.CloseWithError(o.run(ctx, nil, out, "git", "-c", "safe.directory=*", "archive", "--format=tar", o.Tree))
	}()
	err := w.tree(r)
	if err == nil {
		_, err = io.Copy(io.Discard, r) // what pads the archive, and whether git is content
	}
	_ = r.CloseWithError(err)
	var failed *toolError
	if errors.As(err, &failed) {
		return fmt.Errorf("git has no tree %s in %s: %s", o.Tree, o.Source, failed.words)
	}
	return err
}

// addFiles adds FILE or FILE:/PLACE, by default under its own name.
func (o Options) addFiles(w *layerWriter) error {
	for _, f := range sorted(o.Files) {
		from, place, err := added(f)
		if err != nil {
			return err
		}
		if err := w.file(place, from); err != nil {
			return err
		}
	}
	return nil
}

// added reads FILE or FILE:/PLACE, and refuses a file that is not there.
func added(text string) (from, place string, err error) {
	from, place, _ = strings.Cut(text, ":/")
	if from == "" {
		return "", "", usage.Errorf("%q is not a file: use FILE or FILE:/PLACE", text)
	}
	if _, err := os.Stat(from); err != nil {
		return "", "", fmt.Errorf("there is no file %s to add", from)
	}
	if place == "" || strings.HasSuffix(place, "/") {
		place = path.Join(place, filepath.Base(from))
	}
	return from, path.Join("/", place), nil
}

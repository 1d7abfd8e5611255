package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func pack(t *testing.T) *Parcel {
	t.Helper()
	image, err := random.Image(5000, 3)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Pack("hello:0.1", Image{Image: image})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// entries are the files of a parcel as it is sent.
func entries(t *testing.T, p *Parcel, skip int) map[string][]byte {
	t.Helper()
	var out bytes.Buffer
	if err := p.WriteTo(&out, skip); err != nil {
		t.Fatal(err)
	}
	size, err := p.Size(skip)
	if err != nil || size != int64(out.Len()) {
		t.Errorf("%d bytes, not %d: %v", out.Len(), size, err)
	}
	found := map[string][]byte{}
	for in := tar.NewReader(&out); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if found[h.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAParcelLeavesLayersOut(t *testing.T) {
	p := pack(t)
	whole := entries(t, p, 0)
	for skip := range 4 {
		found := entries(t, p, skip)
		if len(found) != len(whole)-skip {
			t.Errorf("less %d: %d files of %d", skip, len(found), len(whole))
		}
		for i, l := range p.layers {
			if _, there := found[blob(l.digest)]; there != (i >= skip) {
				t.Errorf("less %d: layer %d there: %t", skip, i, there)
			}
		}
		// The engine finds those that it has by the list, which names all.
		var listed []struct{ Layers, RepoTags []string }
		if err := json.Unmarshal(found["manifest.json"], &listed); err != nil || len(listed) != 1 || len(listed[0].Layers) != 3 || listed[0].RepoTags[0] != "hello:0.1" {
			t.Errorf("less %d: %v, %s", skip, err, found["manifest.json"])
		}
	}
	named(t, whole)
}

// named checks that files are called by their contents.
func named(t *testing.T, files map[string][]byte) {
	t.Helper()
	for file, content := range files {
		if digest, isBlob := filepath.Base(file), filepath.Dir(file) == "blobs/sha256"; isBlob && hashOf(content).Hex != digest {
			t.Errorf("%s has other content", file)
		}
	}
}

// What an engine saved goes on as it is: its layers are compressed here, as those
// of engines that keep images in containerd.
func TestUnpackReadsWhatDockerSaved(t *testing.T) {
	image, err := random.Image(5000, 3)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("hello:0.1")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(file, tag, image); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	p, err := Unpack("hello:0.1", f)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if p.IDs()[0] != config.String() || len(p.Layers()) != 3 {
		t.Errorf("%v, %v", p.IDs(), p.Layers())
	}
	named(t, entries(t, p, 0))
	named(t, entries(t, p, 2))
	var m v1.Manifest
	if err := json.Unmarshal(p.manifest, &m); err != nil || len(m.Layers) != 3 || m.Layers[0].MediaType != types.OCILayer || m.Layers[0].Digest != p.layers[0].digest {
		t.Errorf("%v, %+v", err, m.Layers)
	}
}

func TestUnpackRefusesWhatIsNoImage(t *testing.T) {
	for what, content := range map[string]string{"nothing": "", "no tar": "hello", "a cut tar": string(bytes.Repeat([]byte("x"), 600))} {
		file := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Unpack("x", f); err == nil {
			t.Errorf("%s is an image", what)
		}
		_ = f.Close()
	}
}

package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Parcel is an image on its way to engines, in a form that engines of all ages
// load: docker's manifest.json over the blobs of an OCI layout. Layers that an
// engine has can be left out.
type Parcel struct {
	Name     string // the name and tag that it gets; "" is none
	Platform v1.Platform
	config   []byte
	manifest []byte
	layers   []piece
}

// piece is one layer.
type piece struct {
	diffID, digest v1.Hash // of the plain content, and of what is sent
	form           types.MediaType
	size           int64
	open           func() (io.ReadCloser, error)
}

// IDs are what engines may call the image: the digest of its configuration,
// and, where the engine keeps images in containerd, that of its manifest.
func (p *Parcel) IDs() []string {
	return []string{hashOf(p.config).String(), hashOf(p.manifest).String()}
}

// Layers are the digests of the layers' plain contents, from the bottom.
func (p *Parcel) Layers() []string {
	var all []string
	for _, l := range p.layers {
		all = append(all, l.diffID.String())
	}
	return all
}

// Pack makes a parcel of an image.
func Pack(name string, image Image) (*Parcel, error) {
	p := &Parcel{Name: name, Platform: image.Platform}
	var err error
	if p.config, err = image.RawConfigFile(); err != nil {
		return nil, err
	}
	if p.manifest, err = image.RawManifest(); err != nil {
		return nil, err
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		diffID, err1 := l.DiffID()
		digest, err2 := l.Digest()
		size, err3 := l.Size()
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, err
		}
		p.layers = append(p.layers, piece{diffID, digest, types.OCILayer, size, l.Compressed})
	}
	return p, nil
}

// Unpack makes a parcel of what `docker save` wrote into a file, which has to
// stay as long as the parcel is used.
func Unpack(name string, save *os.File) (*Parcel, error) {
	found, err := index(save)
	if err != nil {
		return nil, fmt.Errorf("read what docker save wrote: %w", err)
	}
	var saved []struct {
		Config string
		Layers []string
	}
	text, err := found.read("manifest.json")
	if err == nil {
		err = json.Unmarshal(text, &saved)
	}
	if err == nil && len(saved) != 1 {
		err = fmt.Errorf("it has %d images", len(saved))
	}
	if err != nil {
		return nil, fmt.Errorf("read what docker save wrote: %w", err)
	}
	p := &Parcel{Name: name}
	if p.config, err = found.read(saved[0].Config); err != nil {
		return nil, fmt.Errorf("read what docker save wrote: %w", err)
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(p.config))
	if err != nil || len(config.RootFS.DiffIDs) != len(saved[0].Layers) {
		return nil, fmt.Errorf("read what docker save wrote: its configuration and its layers differ: %w", err)
	}
	p.Platform = v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}
	for i, file := range saved[0].Layers {
		at, ok := found.files[found.follow(file)]
		if !ok {
			return nil, fmt.Errorf("read what docker save wrote: layer %s is not in it", file)
		}
		l := piece{config.RootFS.DiffIDs[i], config.RootFS.DiffIDs[i], types.OCIUncompressedLayer, at.size, func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(save, at.from, at.size)), nil
		}}
		if err := l.recognize(); err != nil {
			return nil, fmt.Errorf("read what docker save wrote: layer %s: %w", file, err)
		}
		p.layers = append(p.layers, l)
	}
	return p, p.describe()
}

// recognize looks whether the layer is compressed, as engines that keep images in
// containerd save them.
func (l *piece) recognize() error {
	r, err := l.open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	var magic [4]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil {
		return err
	}
	switch {
	case magic[0] == 0x1f && magic[1] == 0x8b:
		l.form = types.OCILayer
	case magic == [4]byte{0x28, 0xb5, 0x2f, 0xfd}:
		l.form = types.OCILayerZStd
	default:
		return nil
	}
	hash := sha256.New()
	_, _ = hash.Write(magic[:])
	if _, err := io.Copy(hash, r); err != nil {
		return err
	}
	l.digest = sum(hash)
	return nil
}

// describe writes the manifest that the image has none of yet.
func (p *Parcel) describe() (err error) {
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: hashOf(p.config), Size: int64(len(p.config))},
	}
	for _, l := range p.layers {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: l.form, Digest: l.digest, Size: l.size})
	}
	p.manifest, err = json.Marshal(m)
	return err
}

func hashOf(content []byte) v1.Hash {
	h, _, _ := v1.SHA256(bytes.NewReader(content)) // a buffer reads without fail
	return h
}

// blob is the place of a digest in the tar.
func blob(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// Size is how many bytes WriteTo writes.
func (p *Parcel) Size(skip int) (int64, error) {
	count := &counter{w: io.Discard}
	err := p.write(count, skip, func(w *tar.Writer, l piece) error {
		_, err := io.CopyN(w, zeros{}, l.size) // not read for its size
		return err
	})
	return count.n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// WriteTo writes what `docker load` reads, less the lowest layers, so many of
// which the engine has.
func (p *Parcel) WriteTo(w io.Writer, skip int) error {
	return p.write(w, skip, func(w *tar.Writer, l piece) (err error) {
		r, err := l.open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 1<<20))
		return err
	})
}

func (p *Parcel) write(out io.Writer, skip int, content func(*tar.Writer, piece) error) error {
	w := tar.NewWriter(out)
	add := func(name string, text []byte) error {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			return err
		}
		_, err := w.Write(text)
		return err
	}
	written := map[v1.Hash]bool{}
	for i, l := range p.layers {
		if i < skip || written[l.digest] {
			continue
		}
		written[l.digest] = true
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: blob(l.digest), Mode: 0o644, Size: l.size}); err != nil {
			return err
		}
		if err := content(w, l); err != nil {
			return err
		}
	}
	texts, err := p.texts()
	if err != nil {
		return err
	}
	for _, t := range texts {
		if err := add(t.name, t.text); err != nil {
			return err
		}
	}
	return w.Close()
}

type text struct {
	name string
	text []byte
}

// texts are the small files of the parcel.
func (p *Parcel) texts() ([]text, error) {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	e := entry{Config: blob(hashOf(p.config)), Layers: []string{}}
	top := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: hashOf(p.manifest), Size: int64(len(p.manifest)), Platform: &p.Platform}
	if p.Name != "" {
		e.RepoTags = []string{p.Name}
		top.Annotations = map[string]string{"io.containerd.image.name": fullName(p.Name)}
	}
	for _, l := range p.layers {
		e.Layers = append(e.Layers, blob(l.digest))
	}
	docker, err1 := json.Marshal([]entry{e})
	oci, err2 := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{top}})
	return []text{
		{blob(hashOf(p.config)), p.config},
		{blob(hashOf(p.manifest)), p.manifest},
		{"manifest.json", docker},
		{"index.json", oci},
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
	}, errors.Join(err1, err2)
}

// saved is where the files of a tar are.
type saved struct {
	tar   *os.File
	files map[string]extent
	links map[string]string
}

type extent struct{ from, size int64 }

func index(f *os.File) (*saved, error) {
	s := &saved{f, map[string]extent{}, map[string]string{}}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	for in := tar.NewReader(f); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			from, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			s.files[name] = extent{from, h.Size}
		case tar.TypeSymlink, tar.TypeLink:
			to := h.Linkname
			if h.Typeflag == tar.TypeSymlink {
				to = path.Join(path.Dir(name), to) // #nosec G305 -- a key of a map, no file
			}
			s.links[name] = path.Clean(to)
		}
	}
}

// follow is the file that a name means: a layer that an image has twice is
// saved once, with a link to it.
func (s *saved) follow(name string) string {
	name = path.Clean(name)
	for range 10 {
		to, ok := s.links[name]
		if !ok {
			break
		}
		name = to
	}
	return strings.TrimPrefix(name, "/")
}

func (s *saved) read(name string) ([]byte, error) {
	at, ok := s.files[s.follow(name)]
	if !ok {
		return nil, fmt.Errorf("%s is not in it", name)
	}
	content := make([]byte, at.size)
	_, err := io.ReadFull(io.NewSectionReader(s.tar, at.from, at.size), content)
	return content, err
}

package images

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/pgzip" // on all processors, and the same bytes on however many, whichever Go built skep
)

// layer is a compressed layer in a file.
type layer struct {
	file           string
	digest, diffID v1.Hash
	size           int64
}

func (l *layer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *layer) Size() (int64, error)                { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }
func (l *layer) Compressed() (io.ReadCloser, error)  { return os.Open(l.file) }

func (l *layer) Uncompressed() (io.ReadCloser, error) {
	f, err := os.Open(l.file)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}

// writeLayer makes a layer of the files that fill adds. Hashes of both forms are
// taken as it is written, in one pass.
func (o Options) writeLayer(fill func(*layerWriter) error) (v1.Layer, error) {
	f, err := os.CreateTemp(o.Work, "layer-*.tar.gz")
	if err != nil {
		return nil, fmt.Errorf("make a layer: %w", err)
	}
	compressed, plain := sha256.New(), sha256.New()
	count := &counter{w: io.MultiWriter(f, compressed)}
	// Programs hardly get smaller by taking longer.
	z, err := pgzip.NewWriterLevel(count, pgzip.BestSpeed)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	w := &layerWriter{tar: tar.NewWriter(io.MultiWriter(z, plain)), dirs: map[string]bool{}}
	err = errors.Join(fill(w), w.tar.Close(), z.Close(), f.Close())
	if err != nil {
		return nil, fmt.Errorf("make a layer: %w", err)
	}
	return &layer{file: f.Name(), digest: sum(compressed), diffID: sum(plain), size: count.n}, nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", h.Sum(nil))}
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// layerWriter adds files to a layer, with nothing in their headers that differs
// from one computer or day to another.
type layerWriter struct {
	tar  *tar.Writer
	dirs map[string]bool
}

// dir adds a folder and those above it. Those that every program finds in its
// image are as they are there, whatever is put into them.
func (w *layerWriter) dir(name string) error {
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" || w.dirs[name] {
		return nil
	}
	if err := w.dir(path.Dir(name)); err != nil {
		return err
	}
	w.dirs[name] = true
	mode, owner := int64(0o755), 0
	switch name {
	case dataFolder: // volumes take the owner of the folder that they are mounted over
		owner = userID
	case tmpFolder:
		mode = 0o1777
	}
	return w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner})
}

// bytes adds a file with the content.
func (w *layerWriter) bytes(name string, mode int64, content []byte) error {
	return w.stream(name, mode, int64(len(content)), strings.NewReader(string(content)))
}

func (w *layerWriter) stream(name string, mode, size int64, content io.Reader) error {
	name = strings.Trim(path.Clean("/"+name), "/")
	if err := w.dir(path.Dir(name)); err != nil {
		return err
	}
	if err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size}); err != nil {
		return err
	}
	_, err := io.CopyN(w.tar, content, size)
	return err
}

// file adds a file of this computer, or a folder with all that is in it.
func (w *layerWriter) file(name, from string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return w.regular(name, from, info)
	}
	return filepath.WalkDir(from, func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		place := path.Join(name, filepath.ToSlash(below))
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			return w.dir(place)
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: strings.Trim(path.Clean("/"+place), "/"), Linkname: to, Mode: 0o777})
		case info.Mode().IsRegular():
			return w.regular(place, p, info)
		}
		return fmt.Errorf("%s is no file that an image can have", p)
	})
}

func (w *layerWriter) regular(name, from string, info fs.FileInfo) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	return w.stream(name, mode, info.Size(), f)
}

// tree adds what a tar stream has, less its times and owners.
func (w *layerWriter) tree(stream io.Reader) error {
	for in := tar.NewReader(stream); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			mode := int64(0o644)
			if h.Mode&0o111 != 0 {
				mode = 0o755
			}
			err = w.stream(h.Name, mode, h.Size, in)
		case tar.TypeDir:
			err = w.dir(h.Name)
		case tar.TypeSymlink:
			err = w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: strings.Trim(path.Clean("/"+h.Name), "/"), Linkname: h.Linkname, Mode: 0o777})
		default: // git's own comment
		}
		if err != nil {
			return err
		}
	}
}

// sorted are the keys in order.
func sorted(files []string) []string {
	files = slices.Clone(files)
	slices.Sort(files)
	return slices.Compact(files)
}

// program adds a file that is run.
func (w *layerWriter) program(name, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return w.stream(name, 0o755, info.Size(), f)
}

package relay

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	repository = "skep-relay"
	program    = "skep" // its name in the image
	nobody     = "65534:65534"
)

// Image is an image of one program, ready to be loaded: a Linux build of skep.
type Image struct {
	Ref  string // the name that it is loaded under
	Arch string // as swarm names it: x86_64, aarch64
	file string
	size int64
	id   string // of the configuration
	conf []byte
}

// ErrUnfit is a program that no node can run.
var ErrUnfit = errors.New("is no program for the nodes")

// architectures are those of ELF, as swarm and as images name them.
func architectures() map[elf.Machine][2]string {
	return map[elf.Machine][2]string{
		elf.EM_X86_64: {"x86_64", "amd64"}, elf.EM_AARCH64: {"aarch64", "arm64"},
		elf.EM_ARM: {"armv7l", "arm"}, elf.EM_RISCV: {"riscv64", "riscv64"}, elf.EM_S390: {"s390x", "s390x"}, elf.EM_PPC64: {"ppc64le", "ppc64le"},
	}
}

// NewImage is the image of a program file. It refuses one that is not for
// Linux or that needs libraries, which the image does not have.
func NewImage(file string) (Image, error) {
	program, err := elf.Open(file)
	var format *elf.FormatError
	if errors.As(err, &format) || errors.Is(err, io.EOF) {
		return Image{}, fmt.Errorf("%s %w: it is not built for Linux", file, ErrUnfit)
	}
	if err != nil {
		return Image{}, err
	}
	defer func() { _ = program.Close() }()
	arch, known := architectures()[program.Machine]
	if !known {
		return Image{}, fmt.Errorf("%s %w: it is built for %s", file, ErrUnfit, program.Machine)
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return Image{}, fmt.Errorf("%s %w: it needs shared libraries; build it with CGO_ENABLED=0", file, ErrUnfit)
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		return Image{}, err
	}
	i := Image{Arch: arch[0], file: file, size: info.Size()}
	return i, i.configure(arch[1])
}

// configure reads the program once, for the digests that name the image.
func (i *Image) configure(arch string) error {
	layer := sha256.New()
	if err := i.layer(layer); err != nil {
		return err
	}
	conf, err := json.Marshal(map[string]any{
		"architecture": arch, "os": "linux",
		"config":  map[string]any{"Entrypoint": []string{"/" + program}, "Cmd": []string{"relay"}, "User": nobody},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(layer.Sum(nil))}},
		"history": []any{map[string]string{"created_by": "skep"}},
	})
	if err != nil {
		return err
	}
	id := sha256.Sum256(conf)
	i.conf, i.id = conf, hex.EncodeToString(id[:])
	i.Ref = repository + ":" + i.id[:12]
	return nil
}

// layer writes the only layer: the program.
func (i *Image) layer(to io.Writer) error {
	file, err := os.Open(i.file)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	w := tar.NewWriter(to)
	if err := w.WriteHeader(header(program, 0o755, i.size)); err != nil {
		return err
	}
	if _, err := io.Copy(w, file); err != nil {
		return fmt.Errorf("read %s: %w", i.file, err)
	}
	return w.Close()
}

func header(name string, mode, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size, ModTime: time.Unix(0, 0)}
}

// tarBlock is what the format rounds to.
const tarBlock = 512

// Save writes the image as `docker save` does.
func (i *Image) Save(to io.Writer) error {
	manifest, err := json.Marshal([]map[string]any{{"Config": i.id + ".json", "RepoTags": []string{i.Ref}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	w := tar.NewWriter(to)
	for name, text := range map[string][]byte{i.id + ".json": i.conf, "manifest.json": manifest} {
		if err := w.WriteHeader(header(name, 0o644, int64(len(text)))); err != nil {
			return err
		}
		if _, err := io.Copy(w, bytes.NewReader(text)); err != nil {
			return err
		}
	}
	// A header, the program rounded up, and two blocks of end.
	size := 3*tarBlock + (i.size+tarBlock-1)/tarBlock*tarBlock
	if err := w.WriteHeader(header("layer.tar", 0o644, size)); err != nil {
		return err
	}
	if err := i.layer(w); err != nil {
		return err
	}
	return w.Close()
}

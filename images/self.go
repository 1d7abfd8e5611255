package images

import (
	"archive/tar"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// SelfVariable names the skep for the nodes where the one that runs is for
// another system.
const SelfVariable = "SKEP_SELF"

// SelfFile is the program that the nodes run as skep.
func SelfFile() (string, error) {
	if file := os.Getenv(SelfVariable); file != "" {
		return file, nil
	}
	file, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find skep's own file: %w", err)
	}
	return file, nil
}

// ErrUnfit is a program that no node can run.
var ErrUnfit = errors.New("is no program for the nodes")

// architectures are those of ELF, as images name them.
func architectures() map[elf.Machine]string {
	return map[elf.Machine]string{
		elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_ARM: "arm",
		elf.EM_RISCV: "riscv64", elf.EM_S390: "s390x", elf.EM_PPC64: "ppc64le",
	}
}

// Self is the image of a skep that has skep and nothing else, so that what skep
// itself serves on a swarm needs no registry. It is the same for the same file,
// which has to stay as long as the parcel is used. A program that is not for
// Linux, or that needs libraries, is refused.
func Self(file string) (*Parcel, error) {
	arch, err := runsWhere(file)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	count := &counter{w: hash}
	if err := selfLayer(count, file, info.Size()); err != nil {
		return nil, err
	}
	only := sum(hash)
	p := &Parcel{Platform: v1.Platform{OS: "linux", Architecture: arch}}
	p.layers = []piece{{only, only, types.OCIUncompressedLayer, count.n, func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { _ = w.CloseWithError(selfLayer(w, file, info.Size())) }()
		return r, nil
	}}}
	p.config, err = json.Marshal(map[string]any{
		"architecture": arch, "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config": map[string]any{"Entrypoint": []string{"/skep"}, "Env": []string{"HOME=/", "PATH=/"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{only.String()}},
	})
	if err != nil {
		return nil, err
	}
	p.Name = "skep:" + hashOf(p.config).Hex[:12]
	return p, p.describe()
}

// runsWhere is the architecture that a program runs on by itself.
func runsWhere(file string) (string, error) {
	program, err := elf.Open(file)
	var format *elf.FormatError
	if errors.As(err, &format) || errors.Is(err, io.EOF) {
		return "", fmt.Errorf("%s %w: it is not built for Linux", file, ErrUnfit)
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = program.Close() }()
	arch, known := architectures()[program.Machine]
	if !known {
		return "", fmt.Errorf("%s %w: it is built for %s", file, ErrUnfit, program.Machine)
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return "", fmt.Errorf("%s %w: it needs shared libraries; build it with CGO_ENABLED=0", file, ErrUnfit)
		}
	}
	return arch, nil
}

// selfLayer writes the file system: the program, and folders for what it keeps.
func selfLayer(to io.Writer, file string, size int64) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	w := tar.NewWriter(to)
	for _, dir := range []string{"tmp/", "data/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o777}); err != nil {
			return err
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "skep", Mode: 0o755, Size: size}); err != nil {
		return err
	}
	if _, err := io.Copy(w, f); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return w.Close()
}

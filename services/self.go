package services

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"skep/swarm"

	"github.com/docker/docker/client"
)

// selfImage stands in a stack for the image that has skep and nothing else: the
// program that runs is put in it and sent to the nodes, so that what skep serves
// on a swarm needs no registry.
const selfImage = "skep:self"

// SelfVariable names the skep for the nodes where the one that runs is for
// another system.
const SelfVariable = "SKEP_SELF"

// shipSelf brings skep's own image to the manager where a service needs it, from
// where it is sent on like any other.
func (x Executor) shipSelf(ctx context.Context, manager *swarm.Engine, stack *Stack) error {
	if !slices.ContainsFunc(stack.Services, isSelf) {
		return nil
	}
	file := os.Getenv(SelfVariable)
	if file == "" {
		var err error
		if file, err = os.Executable(); err != nil {
			return fmt.Errorf("find skep's own file: %w", err)
		}
	}
	info, err := manager.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask %s for its architecture: %w", manager.Node(), err)
	}
	if err := runsOn(file, info.Architecture); err != nil {
		return fmt.Errorf("the nodes cannot run %s: %w; set %s to the file of a skep that is built for linux on %s, with CGO_ENABLED=0",
			file, err, SelfVariable, info.Architecture)
	}
	image, err := packSelf(file, info.Architecture)
	if err != nil {
		return err
	}
	if has, err := manager.Has(ctx, image.id); err != nil {
		return err
	} else if !has {
		x.Log.Info("sending skep itself", "node", manager.Node())
		if err := image.load(ctx, manager.Client); err != nil {
			return fmt.Errorf("load skep's image on %s: %w", manager.Node(), err)
		}
	}
	for i := range stack.Services {
		if s := &stack.Services[i]; isSelf(*s) {
			c := *s.TaskTemplate.ContainerSpec
			c.Image = image.id
			s.TaskTemplate.ContainerSpec = &c
		}
	}
	return nil
}

// runsOn says why a program does not run on the nodes. Their architecture is as
// the kernel names it.
func runsOn(file, architecture string) error {
	program, err := elf.Open(file)
	if err != nil {
		return errors.New("it is no program for linux")
	}
	defer func() { _ = program.Close() }()
	machine := map[string]elf.Machine{"x86_64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64, "armv7l": elf.EM_ARM, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390, "ppc64le": elf.EM_PPC64}
	if program.Machine != machine[architecture] {
		return fmt.Errorf("it is for %s", program.Machine)
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it needs libraries")
		}
	}
	return nil
}

// goArch is what Go and images call an architecture of the kernel's.
func goArch(kernel string) string {
	if name := map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}[kernel]; name != "" {
		return name
	}
	return kernel
}

// packed is an image of one layer that has one file.
type packed struct {
	id     string // of its configuration, as engines name it
	config []byte
	file   string
	size   int64
}

// packSelf computes what the image of a file is, the same for the same file. An
// image is named by its configuration, which has the hash of its layer.
func packSelf(file, architecture string) (packed, error) {
	p := packed{file: file}
	stat, err := os.Stat(file)
	if err != nil {
		return p, err
	}
	p.size = stat.Size()
	hash := sha256.New()
	if err := p.layer(hash); err != nil {
		return p, err
	}
	p.config, err = json.Marshal(map[string]any{
		"architecture": goArch(architecture), "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config": map[string]any{"Entrypoint": []string{"/skep"}, "Env": []string{"HOME=/", "PATH=/"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(hash.Sum(nil))}},
	})
	sum := sha256.Sum256(p.config)
	p.id = "sha256:" + hex.EncodeToString(sum[:])
	return p, err
}

// layer writes the file system: the program, and a folder for what it keeps.
func (p packed) layer(w io.Writer) error {
	f, err := os.Open(p.file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	t := tar.NewWriter(w)
	for _, dir := range []string{"tmp/", "data/"} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o777}); err != nil {
			return err
		}
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "skep", Mode: 0o755, Size: p.size}); err != nil {
		return err
	}
	if _, err := io.Copy(t, f); err != nil {
		return fmt.Errorf("read %s: %w", p.file, err)
	}
	return t.Close()
}

// archive writes the image as `docker save` would.
func (p packed) archive(w io.Writer) error {
	hash := p.id[len("sha256:"):]
	layer := filepath.ToSlash(filepath.Join(hash, "layer.tar"))
	manifest, err := json.Marshal([]map[string]any{{"Config": hash + ".json", "RepoTags": nil, "Layers": []string{layer}}})
	if err != nil {
		return err
	}
	var counted counter
	if err := p.layer(&counted); err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, f := range []struct {
		name    string
		content []byte
	}{{hash + ".json", p.config}, {"manifest.json", manifest}} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.content))}); err != nil {
			return err
		}
		if _, err := io.Copy(t, bytes.NewReader(f.content)); err != nil {
			return err
		}
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: layer, Mode: 0o644, Size: int64(counted)}); err != nil {
		return err
	}
	if err := p.layer(t); err != nil {
		return err
	}
	return t.Close()
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func (p packed) load(ctx context.Context, engine *client.Client) error {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(p.archive(w)) }()
	defer func() { _ = r.Close() }()
	done, err := engine.ImageLoad(ctx, r, client.ImageLoadWithQuiet(true))
	if err != nil {
		return err
	}
	defer func() { _ = done.Body.Close() }()
	text, err := io.ReadAll(done.Body)
	if err != nil {
		return err
	}
	if found, err := engine.ImageInspect(ctx, p.id); err != nil || found.ID != p.id {
		return fmt.Errorf("the engine does not know it as %s: %s", p.id, text)
	}
	return nil
}

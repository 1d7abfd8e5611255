package images

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ProbeLabel is on every image the place of its probe: a program that asks a
// URL and fails where the answer is not one of success, for healthchecks in
// images that have no shell.
const ProbeLabel = "skep.probe"

const probePlace = "/.skep/probe"

//go:embed probe/main.go
var probeSource []byte

// probe is the file of the probe's program. It is compiled once for each version
// of the go command and kept.
func (o Options) probe(ctx context.Context, p v1.Platform) (string, error) {
	version, err := o.command(ctx, nil, "go", "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(version+p.String()), probeSource...))
	file := filepath.Join(o.Cache, "probe-"+hex.EncodeToString(sum[:12]))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	if err := os.MkdirAll(o.Cache, 0o700); err != nil {
		return "", fmt.Errorf("make a folder for the probe: %w", err)
	}
	dir, err := os.MkdirTemp(o.Work, "probe-")
	if err != nil {
		return "", err
	}
	source, made := filepath.Join(dir, "main.go"), filepath.Join(dir, "probe")
	if err := os.WriteFile(source, probeSource, 0o600); err != nil {
		return "", err
	}
	alone := o
	alone.Source = dir
	if err := alone.compile(ctx, p, "", made, source); err != nil {
		return "", err
	}
	// Whole or not at all, for another build may be making it, too.
	kept, err := os.CreateTemp(o.Cache, ".probe-*")
	if err != nil {
		return "", err
	}
	content, err := os.ReadFile(made)
	if err == nil {
		_, err = kept.Write(content)
	}
	if err = errors.Join(err, kept.Close()); err == nil {
		err = os.Rename(kept.Name(), file)
	}
	return file, err
}

func (o Options) probeLayer(ctx context.Context, p v1.Platform) (v1.Layer, error) {
	file, err := o.probe(ctx, p)
	if err != nil {
		return nil, err
	}
	return o.writeLayer(func(w *layerWriter) error { return w.program(probePlace, file) })
}

package images

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// describe is the source's version, "" where git does not know one.
func (o Options) describe(ctx context.Context) string {
	// A folder of another user's is read all the same: nothing of it is run.
	out, err := o.command(ctx, nil, "git", "-c", "safe.directory=*", "describe", "--tags", "--always", "--dirty", "--abbrev=12")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// goEnv are the go command's settings for a static program of a platform.
func goEnv(p v1.Platform) []string {
	env := []string{"CGO_ENABLED=0", "GOOS=" + p.OS, "GOARCH=" + p.Architecture}
	if p.Architecture == "arm" && p.Variant != "" {
		env = append(env, "GOARM="+strings.TrimPrefix(p.Variant, "v"))
	}
	return env
}

// compile makes a static program for a platform.
func (o Options) compile(ctx context.Context, p v1.Platform, version, out string, what ...string) error {
	flags := "-s -w -buildid="
	if version != "" {
		flags += " -X main.version=" + version
	}
	// What git knows is stamped by the version: the go command would refuse
	// folders of another user's.
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", out}, what...)
	_, err := o.command(ctx, goEnv(p), "go", args...)
	var failed *toolError
	if errors.As(err, &failed) {
		return fmt.Errorf("%s does not compile for %s: %s", o.name(), p, failed.words)
	}
	return err
}

func (o Options) programLayer(ctx context.Context, p v1.Platform, version string) (v1.Layer, error) {
	file := filepath.Join(o.Work, strings.ReplaceAll(p.String(), "/", "-")+"-program")
	if err := o.compile(ctx, p, version, file, "."); err != nil {
		return nil, err
	}
	return o.writeLayer(func(w *layerWriter) error { return w.program(o.name(), file) })
}

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

const sampleApp = "testdata/hello"

// build compares making an image of the sample app, and pushing it to a registry
// in this process, with go build alone. Each is done after a change to the
// source, as builds are; what the app depends on is compiled already.
func build(ctx context.Context, b *bench) ([]measure, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for pushes: %w", err)
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(ln) }()
	defer func() { _ = server.Close() }()
	source, err := b.copySample()
	if err != nil {
		return nil, err
	}
	change := func() error {
		text := fmt.Sprintf("package main\n\nvar change = %d\n\nfunc init() {\n\tif change < 0 {\n\t\tpanic(change)\n\t}\n}\n", time.Now().UnixNano())
		return os.WriteFile(filepath.Join(source, "change.go"), []byte(text), 0o600)
	}
	withSkep := func() (time.Duration, error) {
		if err := change(); err != nil {
			return 0, err
		}
		settle()
		r, err := b.skep(ctx, "app", "build", "-p", "9090", source, ln.Addr().String()+"/hello:bench")
		return r.elapsed, err
	}
	alone := func() (time.Duration, error) {
		if err := change(); err != nil {
			return 0, err
		}
		settle()
		c := command(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(b.home, "hello"), ".")
		c.Dir, c.Env = source, append(os.Environ(), "CGO_ENABLED=0")
		r, err := c.run()
		return r.elapsed, err
	}
	for _, warm := range []func() (time.Duration, error){withSkep, alone} {
		if _, err := warm(); err != nil {
			return nil, err
		}
	}
	m, err := b.pair("build", withSkep, alone)
	m.bar = ratioBar(1.3)
	return []measure{m}, err
}

// copySample copies the sample app, as a module of its own, to where it can be
// changed.
func (b *bench) copySample() (string, error) {
	to := filepath.Join(b.home, "sample")
	files, err := filepath.Glob(filepath.Join(sampleApp, "*.go"))
	err = errors.Join(err, os.Mkdir(to, 0o700))
	for _, file := range append(files, "go.mod", "go.sum") {
		if err != nil || strings.HasSuffix(file, "_test.go") {
			continue
		}
		var content []byte
		if content, err = os.ReadFile(file); err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(file)), content, 0o600)
		}
	}
	if err != nil {
		return "", fmt.Errorf("copy the sample app: %w", err)
	}
	return to, nil
}

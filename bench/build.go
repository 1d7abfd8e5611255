//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

const sampleApp = "./testdata/hello"

// build compares making an image of the sample app, and pushing it to a registry
// in this process, with go build alone. The go command's cache is warm in both;
// what it links it does not keep.
func build(ctx context.Context, b *bench) ([]measure, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for pushes: %w", err)
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(ln) }()
	defer func() { _ = server.Close() }()
	image := ln.Addr().String() + "/hello:bench"
	out := filepath.Join(b.home, "hello")
	withSkep := func() (time.Duration, error) {
		settle()
		r, err := b.skep(ctx, "app", "build", "-p", "9090", sampleApp, image)
		return r.elapsed, err
	}
	alone := func() (time.Duration, error) {
		settle()
		c := command(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, sampleApp)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
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

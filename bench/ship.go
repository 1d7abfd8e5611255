//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	bigImage = "skep-test/big:150"
	bigApp   = "big"
)

// ship compares sending an image to three nodes, by a deploy of an app that has
// it, with docker save | docker load into one of them. What the deploy takes
// besides is taken off: it is measured by the same deploy again, when the nodes
// have the image.
func ship(ctx context.Context, b *bench) ([]measure, error) {
	if _, err := docker(ctx, "image", "inspect", bigImage); err != nil {
		b.say("making %s", bigImage)
		if _, err := command(ctx, "testdata/big/build.sh").run(); err != nil {
			return nil, err
		}
	}
	env, err := b.three(ctx)
	if err != nil {
		return nil, err
	}
	s := &shipping{b: b, env: env, peak: measure{name: "ship, peak memory of skep", unit: megabytes, bar: maximumBar(100e6, "100 MB")}}
	out, err := docker(ctx, "ps", "--filter", "label="+label+"="+env, "--format", "{{.Names}}")
	if err != nil {
		return nil, err
	}
	s.nodes = strings.Fields(out)
	took, err := b.pair("ship, time", func() (time.Duration, error) { return s.bySkep(ctx) }, func() (time.Duration, error) { return s.byPipe(ctx) })
	s.whole.name, s.whole.unit = "ship, time of the whole deploy", seconds
	s.whole.floor = took.floor
	took.bar = ratioBar(1.5)
	if err != nil {
		return nil, err
	}
	beside, err := b.pair("ship, time beside 3 loads", func() (time.Duration, error) { return s.bySkep(ctx) }, func() (time.Duration, error) { return s.byLoads(ctx) })
	return []measure{s.peak, took, s.whole, beside}, err
}

// shipping is what the rounds share.
type shipping struct {
	b           *bench
	env         string
	nodes       []string
	peak, whole measure
}

// bySkep deploys twice: with nodes that lack the image, and that have it.
func (s *shipping) bySkep(ctx context.Context) (time.Duration, error) {
	first, err := s.deploy(ctx)
	if err != nil {
		return 0, err
	}
	second, err := s.deploy(ctx)
	if err != nil {
		return 0, err
	}
	s.peak.skep = append(s.peak.skep, first.rss)
	s.whole.skep = append(s.whole.skep, first.elapsed.Seconds())
	return first.elapsed - second.elapsed, s.forget(ctx, s.nodes)
}

func (s *shipping) deploy(ctx context.Context) (result, error) {
	settle()
	r, err := s.b.skep(ctx, "app", "deploy", bigApp, bigImage, s.env)
	if err != nil {
		return r, err
	}
	_, err = s.b.skep(ctx, "app", "rm", bigApp, s.env)
	return r, err
}

// byPipe is the floor: docker save | docker exec -i NODE docker load.
func (s *shipping) byPipe(ctx context.Context) (time.Duration, error) {
	settle()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("make a pipe: %w", err)
	}
	start := time.Now()
	save := command(ctx, "docker", "save", bigImage)
	save.Stdout = w
	err = save.Start()
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return 0, fmt.Errorf("%s: %w", save, err)
	}
	load := command(ctx, "docker", "exec", "-i", s.nodes[0], "docker", "load", "-q")
	load.Stdin = r
	_, err = load.run()
	elapsed := time.Since(start)
	_ = r.Close() // a save that still writes ends here
	if saved := save.Wait(); err == nil && saved != nil {
		err = fmt.Errorf("%s: %w", save, saved)
	}
	if err != nil {
		return 0, err
	}
	return elapsed, s.forget(ctx, s.nodes[:1])
}

// byLoads is what no way of sending can do without: docker load into all nodes at
// once, of a file that is there already.
func (s *shipping) byLoads(ctx context.Context) (time.Duration, error) {
	file := filepath.Join(s.b.home, "big.tar")
	if _, err := command(ctx, "docker", "save", "-o", file, bigImage).run(); err != nil {
		return 0, err
	}
	settle()
	var loads errgroup.Group
	start := time.Now()
	for _, node := range s.nodes {
		loads.Go(func() error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			load := command(ctx, "docker", "exec", "-i", node, "docker", "load", "-q")
			load.Stdin = f
			_, err = load.run()
			return err
		})
	}
	err := loads.Wait()
	elapsed := time.Since(start)
	if err != nil {
		return 0, err
	}
	return elapsed, s.forget(ctx, s.nodes)
}

// forget removes the image from nodes, once their last container of it is gone.
func (s *shipping) forget(ctx context.Context, nodes []string) error {
	for _, node := range nodes {
		if err := until(ctx, node, "docker image rm -f "+bigImage); err != nil {
			return err
		}
	}
	return nil
}

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	binary = "bin/skep"
	// homes holds the folders for skep's files. It is not $TMPDIR, which may be
	// long: sockets are among them, and the path of a socket takes 107 bytes.
	homes       = "/tmp"
	tidyTimeout = 3 * time.Minute
)

// bench is one run: skep's binary, files of its own and the environments that
// it made.
type bench struct {
	rounds int
	binary string
	home   string   // of skep's files
	env    []string // the variables of skep's processes
	envs   []string // what close removes
	threes string   // the environment of three nodes that parts share, once it is there
	node   *node    // what a node of skep is, once it is known
}

// open finds or builds skep, removes what a killed run left, and makes a folder
// for skep's files.
func open(ctx context.Context, rounds int) (*bench, error) {
	b := &bench{rounds: rounds}
	if err := b.find(ctx); err != nil {
		return nil, err
	}
	if _, err := docker(ctx, "version"); err != nil {
		return nil, fmt.Errorf("the Docker engine: %w", err)
	}
	b.warnIfBusy()
	if err := b.sweep(ctx); err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp(homes, fmt.Sprintf("skep-bench-%d-", os.Getpid()))
	if err != nil {
		return nil, fmt.Errorf("make a folder for skep's files: %w", err)
	}
	b.home, b.env = home, os.Environ()
	for _, kind := range []string{"CONFIG_HOME", "STATE_HOME", "DATA_HOME", "CACHE_HOME", "RUNTIME_DIR"} {
		b.env = append(b.env, "XDG_"+kind+"="+filepath.Join(home, strings.ToLower(kind)))
	}
	return b, nil
}

// find takes the binary that is there, so that what was built is measured, and
// builds it only where there is none.
func (b *bench) find(ctx context.Context) error {
	if _, err := os.Stat("cmd/skep"); err != nil {
		return errors.New("run it from the root of the repository: go run ./bench")
	}
	path, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	b.binary = path
	found, err := os.Stat(path)
	if err == nil {
		b.say("measuring %s, built %s ago", binary, time.Since(found.ModTime()).Round(time.Second))
		return nil
	}
	b.say("building %s, which is not there", binary)
	_, err = command(ctx, "go", "build", "-trimpath", "-o", path, "./cmd/skep").run()
	return err
}

// warnIfBusy compares the load with the processors.
func (b *bench) warnIfBusy() {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return
	}
	var load float64
	if _, err := fmt.Sscan(string(content), &load); err == nil && load > 0.75*float64(runtime.NumCPU()) {
		b.say("warning: the load is %.1f on %d processors; the numbers will say little", load, runtime.NumCPU())
	}
}

// say tells how it goes; results alone go to stdout.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// name is an environment's, this run's own; it is removed at the end, whatever
// happens.
func (b *bench) name(suffix string) string {
	name := fmt.Sprintf("bench-%d-%s", os.Getpid(), suffix)
	b.envs = append(b.envs, name)
	return name
}

// skep runs skep with files of this run's own.
func (b *bench) skep(ctx context.Context, args ...string) (result, error) {
	c := command(ctx, b.binary, args...)
	c.Env = b.env
	return c.run()
}

// three is an environment of three nodes, made when it is first asked for.
func (b *bench) three(ctx context.Context) (string, error) {
	if b.threes != "" {
		return b.threes, nil
	}
	env := b.name(suffixThree)
	b.say("making three nodes to measure on")
	if _, err := b.skep(ctx, "nodes", "create", env); err != nil {
		return "", err
	}
	b.threes = env
	return env, nil
}

// close removes everything that the run made, after a signal too.
func (b *bench) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	if len(b.envs) > 0 {
		b.say("removing what was made")
	}
	var errs []error
	for _, env := range b.envs {
		errs = append(errs, remove(ctx, env))
	}
	return errors.Join(append(errs, os.RemoveAll(b.home))...)
}

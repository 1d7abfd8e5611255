//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// dockerTimeout bounds one docker command.
	dockerTimeout = 3 * time.Minute
	// rollbackTimeout is how long skep may take to undo what a signal broke off.
	rollbackTimeout = 3 * time.Minute
)

// child is a process to be measured.
type child struct{ *exec.Cmd }

// result is what a process said and cost.
type result struct {
	out     string
	elapsed time.Duration
	rss     float64 // peak memory in bytes
}

// command is a process that ends with the context as with Ctrl-C, so that it
// cleans up. It has a process group of its own: the terminal's Ctrl-C would be
// its first signal and the context's the second, at which skep exits at once.
// It gets the same when this process is killed.
func command(ctx context.Context, name string, args ...string) child {
	c := exec.CommandContext(ctx, name, args...) // #nosec G204 -- the benchmark's own commands
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = rollbackTimeout
	return child{c}
}

// run runs the process to its end. The error of one that failed carries its own
// words.
//
// A peak as the kernel counts it is at least that of the process it was forked
// from, which is this small one.
func (c child) run() (result, error) {
	var out, words bytes.Buffer
	c.Stdout, c.Stderr = &out, &words
	start := time.Now()
	err := c.Run()
	r := result{out: strings.TrimSpace(out.String()), elapsed: time.Since(start)}
	if err != nil {
		return r, fmt.Errorf("%s: %w: %s", c, err, strings.TrimSpace(words.String()))
	}
	if usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.rss = float64(usage.Maxrss) * 1024
	}
	return r, nil
}

// String is the command line, short enough for an error.
func (c child) String() string {
	line := strings.Join(append([]string{filepath.Base(c.Path)}, c.Args[1:]...), " ")
	if most := 120; len(line) > most {
		line = line[:most] + "…"
	}
	return line
}

// docker runs a docker command. Once begun it goes on to its end: the engine
// would finish what it was asked for, after the cleaning up has looked.
func docker(ctx context.Context, args ...string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dockerTimeout)
	defer cancel()
	r, err := command(ctx, "docker", args...).run()
	return r.out, err
}

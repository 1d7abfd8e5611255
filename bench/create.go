//go:build linux

package main

import (
	"context"
	"errors"
	"strconv"
	"syscall"
	"time"
)

// Suffixes of this run's environments.
const (
	suffixSkep  = "skep"
	suffixFloor = "floor"
	suffixShape = "shape"
	suffixThree = "three"
)

// creation compares a new environment of one manager and some workers with the
// floor. Ten nodes are one manager and nine workers as well: managers join one
// after another in both, which would hide the rest.
type creation struct {
	name    string
	workers int
}

func (c creation) run(ctx context.Context, b *bench) ([]measure, error) {
	n, err := b.shape(ctx)
	if err != nil {
		return nil, err
	}
	skepEnv, floorEnv := b.name(suffixSkep), b.name(suffixFloor)
	m, err := b.pair(c.name,
		func() (time.Duration, error) {
			settle()
			r, err := b.skep(ctx, "nodes", "create", "-m", "1", "-w", strconv.Itoa(c.workers), skepEnv)
			if err != nil {
				return 0, err
			}
			_, err = b.skep(ctx, "nodes", "rm", "-f", skepEnv)
			return r.elapsed, err
		},
		func() (time.Duration, error) {
			settle()
			start := time.Now()
			err := newFloor(floorEnv, n, c.workers).create(ctx)
			elapsed := time.Since(start)
			return elapsed, errors.Join(err, remove(context.WithoutCancel(ctx), floorEnv))
		})
	m.bar = ratioBar(1.3)
	return []measure{m}, err
}

// settle writes out what the step before left in memory, lest the next one pay
// for it.
func settle() { syscall.Sync() }

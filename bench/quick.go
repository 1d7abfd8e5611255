//go:build linux

package main

import "context"

// quickRuns is how often the short commands are run.
const quickRuns = 20

func version(ctx context.Context, b *bench) ([]measure, error) {
	return b.quick(ctx, "version", medianBar(0.020, "20 ms"), "version")
}

func list(ctx context.Context, b *bench) ([]measure, error) {
	env, err := b.three(ctx)
	if err != nil {
		return nil, err
	}
	return b.quick(ctx, "ls", medianBar(0.200, "200 ms"), "nodes", "ls", env)
}

// quick runs a short command again and again.
func (b *bench) quick(ctx context.Context, name string, hold bar, args ...string) ([]measure, error) {
	settle()
	m := measure{name: name, unit: milliseconds, bar: hold}
	for range quickRuns {
		r, err := b.skep(ctx, args...)
		if err != nil {
			return nil, err
		}
		m.skep = append(m.skep, r.elapsed.Seconds())
	}
	return []measure{m}, nil
}

//go:build linux

// Command bench measures skep against the bars it should hold, from the root
// of the repository:
//
//	go run ./bench                 # everything
//	go run ./bench -run 'ls|ship'  # the parts whose names match
//	go run ./bench -n 9            # nine rounds of each pair, not five
//
// What skep does is compared with a floor that does the same with plain docker
// commands, and a tunnel with `ssh -L` of OpenSSH to the same sshd, the two in
// turns (A B A B) within one run, so that both see the same machine. It measures
// bin/skep as it is, and builds it only where it is missing: `make bench` builds
// it first. Its environments are called bench-<pid>-…, its keys and tables are in
// a folder of its own, and both are gone at the end, after Ctrl-C too; what a
// killed run left is removed by the next one. Numbers of a machine that has other
// work to do mean little.
//
// It depends on the built binary, docker and ssh alone, and must not
// know skep's packages. It runs on Linux, where the peak memory of a child is
// counted in KiB.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

func main() {
	only := flag.String("run", "", "regular `expression` of the parts to run (default all)")
	rounds := flag.Int("n", 5, "rounds of each pair")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil || *rounds < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench: -run takes a regular expression, -n a number from 1 on, and there is nothing else")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// The first signal ends the measuring and cleans up, a second one ends all.
	context.AfterFunc(ctx, stop)
	err = run(ctx, pattern, *rounds)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errMissed = errors.New("a bar was missed")

// run runs the parts that match and prints what was measured, even where a
// later part failed.
func run(ctx context.Context, only *regexp.Regexp, rounds int) (err error) {
	b, err := open(ctx, rounds)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	var measured []measure
	defer func() {
		show(os.Stdout, measured)
		for _, m := range measured {
			if !m.holds() {
				err = errors.Join(err, fmt.Errorf("%s: %w", m.name, errMissed))
			}
		}
	}()
	for _, p := range parts() {
		if !only.MatchString(p.name) {
			continue
		}
		b.say("%s: %s", p.name, p.about)
		found, err := p.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		measured = append(measured, found...)
	}
	if len(measured) == 0 {
		return fmt.Errorf("no part matches %q", only)
	}
	return nil
}

// part is a benchmark of its own.
type part struct {
	name, about string
	run         func(context.Context, *bench) ([]measure, error)
}

func parts() []part {
	return []part{
		{"version", "20 runs of skep version", version},
		{"create3", "a new environment of 1 manager and 2 workers", creation{name: "create3", workers: 2}.run},
		{"create10", "a new environment of 1 manager and 9 workers", creation{name: "create10", workers: 9}.run},
		{"ls", "20 runs of skep nodes ls on 3 nodes", list},
		{"build", "an image of the sample app, against go build alone", build},
		{"ship", "an image of 150 MB to 3 nodes, against docker save | docker load into one", ship},
		{"tunnel", "bulk, connections and round trips over a tunnel, against ssh -L", tunnel},
		{"far", "the same at 80 ms from the node", far},
	}
}

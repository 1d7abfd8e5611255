//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	createTimeout = 5 * time.Minute
	subnetTries   = 32
)

// floor makes an environment by plain docker commands: the same containers with
// the same addresses on a network of the same kind, all of them started at
// once, the first made a swarm as soon as its engine answers, each other one
// joined as soon as its own engine answers and there is a token, until all are
// Ready. Waiting is a loop inside the node, which costs two processes a look,
// not four. It is the least that anybody could script: no keys, no host keys, no
// check of the image or the network, no labels on the swarm's nodes.
type floor struct {
	env       string
	node      *node
	subnet    netip.Prefix
	names     []string
	addresses []string
	opened    chan struct{} // closed once there is a token
	token     string
}

func newFloor(env string, n *node, workers int) *floor {
	f := &floor{env: env, node: n, names: []string{env + "-manager-1"}, opened: make(chan struct{})}
	for i := range workers {
		f.names = append(f.names, fmt.Sprintf("%s-worker-%d", env, i+1))
	}
	return f
}

// create makes all of it.
func (f *floor) create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	if err := f.connect(ctx); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for i := range f.names {
		g.Go(func() error {
			if err := f.boot(gctx, i); err != nil {
				return err
			}
			if i == 0 {
				return f.open(gctx)
			}
			return f.join(gctx, i)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return until(ctx, f.names[0], fmt.Sprintf(`[ "$(docker node ls --format '{{.Status}}' | grep -cx Ready)" = %d ]`, len(f.names)))
}

func (f *floor) network() string { return "skep-" + f.env }

// connect makes the network, with the subnet that skep took or, where something
// else has it meanwhile, one of those after it.
func (f *floor) connect(ctx context.Context) error {
	var err error
	f.subnet = f.node.subnet
	for range subnetTries {
		_, err = docker(ctx, "network", "create", "--label", label+"="+f.env,
			"--subnet", f.subnet.String(), "--gateway", gateway(f.subnet).String(), f.network())
		if err == nil || !strings.Contains(err.Error(), "overlap") {
			break
		}
		f.subnet = after(f.subnet)
	}
	f.addresses = addresses(f.subnet, len(f.names))
	return err
}

func gateway(subnet netip.Prefix) netip.Addr { return subnet.Addr().Next() }

// addresses are the first n after the gateway's.
func addresses(subnet netip.Prefix, n int) []string {
	var all []string
	for a := gateway(subnet).Next(); len(all) < n; a = a.Next() {
		all = append(all, a.String())
	}
	return all
}

// after is the subnet of the same size that follows.
func after(subnet netip.Prefix) netip.Prefix {
	a := subnet.Addr()
	for subnet.Contains(a) {
		a = a.Next()
	}
	return netip.PrefixFrom(a, subnet.Bits())
}

// boot starts a node and waits for its engine.
func (f *floor) boot(ctx context.Context, i int) error {
	name := f.names[i]
	args := append([]string{"run", "-d", "--name", name, "--hostname", name, "--label", label + "=" + f.env,
		"--network", f.network(), "--ip", f.addresses[i]}, f.node.flags()...)
	for _, m := range f.node.HostConfig.Mounts {
		args = append(args, fmt.Sprintf("--mount=type=volume,source=skep-%s,target=%s,volume-label=%s=%s", name, m.Target, label, f.env))
	}
	if _, err := docker(ctx, append(args, f.node.Config.Image)...); err != nil {
		return err
	}
	return until(ctx, name, "docker info")
}

// open makes the swarm and reads its token.
func (f *floor) open(ctx context.Context) error {
	var err error
	f.token, err = docker(ctx, "exec", f.names[0], "sh", "-c",
		"docker swarm init --advertise-addr "+f.addresses[0]+" >/dev/null && docker swarm join-token -q worker")
	if err != nil {
		return err
	}
	close(f.opened)
	return nil
}

func (f *floor) join(ctx context.Context, i int) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-f.opened:
	}
	_, err := docker(ctx, "exec", f.names[i], "docker", "swarm", "join",
		"--advertise-addr", f.addresses[i], "--token", f.token, f.addresses[0]+":2377")
	return err
}

// until tries a shell command on a node until it succeeds.
func until(ctx context.Context, node, command string) error {
	_, err := docker(ctx, "exec", node, "sh", "-c", "until "+command+"; do sleep 0.1; done >/dev/null 2>&1")
	return err
}

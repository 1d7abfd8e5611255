package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"skep/providers"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
)

// Delete removes nodes with their volumes.
func (d *Driver) Delete(ctx context.Context, machines []providers.Machine) error {
	return d.each(ctx, machines, func(ctx context.Context, docker *client.Client, m providers.Machine) error {
		d.disconnect(ctx, docker, m.Env, m.Name)
		if err := removeContainer(ctx, docker, m.Name); err != nil {
			return err
		}
		return removeVolume(ctx, docker, volumeName(m.Name))
	})
}

// disconnect takes a container off its environment's network, one at a time.
// An engine (20.10) that removes several at once can lose count of the network's
// endpoints, and then refuses for good to remove the network. That it cannot be
// disconnected, as one that never was connected, keeps nobody from removing it.
func (d *Driver) disconnect(ctx context.Context, docker *client.Client, env, container string) {
	d.leaving.Lock()
	defer d.leaving.Unlock()
	_ = docker.NetworkDisconnect(ctx, networkName(env), container, true)
}

// removeContainer returns when the container is gone, whoever removed it.
func removeContainer(ctx context.Context, docker *client.Client, name string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := docker.ContainerRemove(ctx, name, container.RemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case errdefs.IsNotFound(err):
			return nil
		case err != nil && !errdefs.IsConflict(err): // a conflict is a removal under way
			return fmt.Errorf("remove %s: %s", name, firstLine(err.Error()))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove %s: %w", name, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func removeVolume(ctx context.Context, docker *client.Client, name string) error {
	if err := docker.VolumeRemove(ctx, name, true); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove volume %s: %s", name, firstLine(err.Error()))
	}
	return nil
}

// Purge removes everything that carries the environment's label, then asks the
// engine whether anything is left. Where a create was killed half way, the
// engine may still be at its last order: then it looks again after a while.
func (d *Driver) Purge(ctx context.Context, env string) error {
	docker, err := d.Engine()
	if err != nil {
		return err
	}
	left, err := owned(ctx, docker, env)
	if err != nil {
		return err
	}
	// A create that was killed may still be at work: one look that finds
	// nothing is then no proof.
	unsure := left.halfMade || left.empty()
	for {
		for _, id := range left.containers {
			d.disconnect(ctx, docker, env, id)
		}
		if err := left.remove(ctx, docker); err != nil {
			return err
		}
		if unsure {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(lastOrder):
			}
		}
		before := left
		if left, err = owned(ctx, docker, env); err != nil {
			return err
		}
		switch {
		case left.empty() && unsure && !before.empty():
			continue
		case left.empty():
			return nil
		case slices.Equal(left.all(), before.all()):
			return fmt.Errorf("still on the local engine: %s", strings.Join(left.all(), ", "))
		}
	}
}

// lastOrder is how long the engine may take to carry out an order that nobody
// waits for any more.
const lastOrder = time.Second

func (l leftovers) remove(ctx context.Context, docker *client.Client) error {
	errs := make([]error, len(l.containers))
	var g errgroup.Group
	for i, id := range l.containers {
		g.Go(func() error {
			errs[i] = removeContainer(ctx, docker, id)
			return nil
		})
	}
	_ = g.Wait()
	for _, name := range l.volumes {
		errs = append(errs, removeVolume(ctx, docker, name))
	}
	for _, id := range l.networks {
		if err := docker.NetworkRemove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove network %s: %s", id, firstLine(err.Error())))
		}
	}
	return errors.Join(errs...)
}

// leftovers are an environment's things on the engine.
type leftovers struct {
	containers, volumes, networks []string

	halfMade bool // a create did not get to its end
}

func (l leftovers) empty() bool { return len(l.all()) == 0 }

func (l leftovers) all() []string {
	var names []string
	for _, c := range l.containers {
		names = append(names, "container "+c)
	}
	for _, v := range l.volumes {
		names = append(names, "volume "+v)
	}
	for _, n := range l.networks {
		names = append(names, "network "+n)
	}
	return names
}

func owned(ctx context.Context, docker *client.Client, env string) (leftovers, error) {
	var l leftovers
	var names, batch []string
	for _, label := range []string{labelEnv, labelProbe} {
		found, err := docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label+"="+env))})
		if err != nil {
			return l, fmt.Errorf("list what is left of %s: %w", env, err)
		}
		for _, c := range found {
			l.containers = append(l.containers, c.ID)
			names = append(names, c.Labels[labelNode])
			batch = append(batch, strings.Split(c.Labels[labelBatch], ",")...)
			l.halfMade = l.halfMade || c.State == container.StateCreated || label == labelProbe
		}
	}
	for _, name := range batch {
		l.halfMade = l.halfMade || !slices.Contains(names, name)
	}
	volumes, err := docker.VolumeList(ctx, volume.ListOptions{Filters: byEnv(env)})
	if err != nil {
		return l, fmt.Errorf("list what is left of %s: %w", env, err)
	}
	for _, v := range volumes.Volumes {
		l.volumes = append(l.volumes, v.Name)
	}
	networks, err := docker.NetworkList(ctx, network.ListOptions{Filters: byEnv(env)})
	if err != nil {
		return l, fmt.Errorf("list what is left of %s: %w", env, err)
	}
	for _, n := range networks {
		l.networks = append(l.networks, n.ID)
	}
	l.halfMade = l.halfMade || len(l.networks) > 0 && len(l.containers) == 0
	return l, nil
}

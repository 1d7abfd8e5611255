package docker

import (
	"cmp"
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
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/nat"
	"golang.org/x/sync/errgroup"
)

// Create makes and starts a node per spec, all at once, in the environment's
// own network. One that a killed run left is taken as it is.
func (d *Driver) Create(ctx context.Context, specs []providers.Spec) ([]providers.Machine, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	docker, err := d.Engine()
	if err != nil {
		return nil, err
	}
	env, image := specs[0].Env, d.imageOf(specs[0].Image)
	nodes, err := nodesAndVolumes(ctx, docker, specs)
	if err != nil {
		return nil, err
	}
	net, err := d.ensureNetwork(ctx, docker, env, image)
	if err != nil {
		return nil, err
	}
	addresses, err := freeAddresses(net, nodes, len(specs))
	if err != nil {
		return nil, err
	}
	host, err := hostConfig(ctx, docker, net)
	if err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	for i, spec := range specs {
		g.Go(func() error { return d.createOne(gctx, docker, spec, host, addresses[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return d.named(ctx, specs)
}

// underWay is how long the request of a skep that was killed may go on: its
// volume is to be seen before its container.
const underWay = 10 * time.Second

// nodesAndVolumes lists the environment's containers. It keeps a new node from
// waking up with an earlier one's data: a swarm, certificates and a database
// that nobody knows of any more.
func nodesAndVolumes(ctx context.Context, docker *client.Client, specs []providers.Spec) ([]container.Summary, error) {
	env := specs[0].Env
	deadline := time.Now().Add(underWay)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		// The volumes first: a container that comes meanwhile has its own.
		found, err := docker.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("name", volumeName(env)))})
		if err != nil {
			return nil, fmt.Errorf("list the volumes of %s: %w", env, err)
		}
		nodes, err := docker.ContainerList(ctx, container.ListOptions{All: true, Filters: byEnv(env)})
		if err != nil {
			return nil, fmt.Errorf("list the nodes of %s: %w", env, err)
		}
		old, err := oldVolume(specs, nodes, found.Volumes)
		if err == nil || time.Now().After(deadline) || !justMade(old) {
			return nodes, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// oldVolume finds a volume that a new node would take, though no container has it.
func oldVolume(specs []providers.Spec, nodes []container.Summary, volumes []*volume.Volume) (*volume.Volume, error) {
	for _, s := range specs {
		if slices.ContainsFunc(nodes, func(c container.Summary) bool { return c.Labels[labelNode] == s.Name }) {
			continue
		}
		for _, v := range volumes { // the filter was for any part of a name
			switch {
			case v.Name != volumeName(s.Name):
			case v.Labels[labelEnv] != s.Env:
				return v, fmt.Errorf("%w: volume %s is on the local engine already, and it is not skep's", providers.ErrRefused, v.Name)
			default:
				return v, fmt.Errorf("%w: volume %s of an earlier %s is still on the local engine with its data: `skep nodes rm %s` removes it",
					providers.ErrRefused, v.Name, s.Name, s.Env)
			}
		}
	}
	return nil, nil
}

// justMade says whether a volume is so new that its container may be under way.
func justMade(v *volume.Volume) bool {
	made, err := time.Parse(time.RFC3339, v.CreatedAt)
	return err == nil && time.Since(made) < 2*underWay
}

// named lists the machines that specs describe.
func (d *Driver) named(ctx context.Context, specs []providers.Spec) ([]providers.Machine, error) {
	all, err := d.List(ctx, specs[0].Env)
	if err != nil {
		return nil, err
	}
	var made []providers.Machine
	for _, m := range all {
		for _, s := range specs {
			if m.Name == s.Name {
				made = append(made, m)
			}
		}
	}
	return made, nil
}

// hostConfig is what all nodes of an environment have in common.
func hostConfig(ctx context.Context, docker *client.Client, net network.Inspect) (container.HostConfig, error) {
	host := container.HostConfig{
		NetworkMode:   container.NetworkMode(net.Name),
		RestartPolicy: container.RestartPolicy{Name: whileStarted},
		// A killed dockerd leaves its pid file: /run starts empty every time.
		Tmpfs:        map[string]string{"/run": "mode=755"},
		PortBindings: nat.PortMap{"22/tcp": {{HostIP: "127.0.0.1"}}},
		Binds:        []string{"/lib/modules:/lib/modules:ro"},
	}
	if net.Labels[labelPrivileged] == "true" {
		host.Privileged = true
		return host, nil
	}
	info, err := docker.Info(ctx)
	if err != nil {
		return host, fmt.Errorf("ask the local engine about itself: %w", err)
	}
	allCapabilities(&host, info.CgroupVersion)
	return host, nil
}

func (d *Driver) createOne(ctx context.Context, docker *client.Client, spec providers.Spec, host container.HostConfig, address string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := unbroken(ctx)
	defer cancel()
	labels := map[string]string{
		labelEnv: spec.Env, labelNode: spec.Name, labelRole: string(spec.Role),
		labelRegion: cmp.Or(spec.Region, localRegion), labelBatch: strings.Join(spec.Batch, ","),
	}
	// The volume is made with the container, so that it never lacks its label.
	host.Mounts = []mount.Mount{{
		Type: mount.TypeVolume, Source: volumeName(spec.Name), Target: "/var/lib/docker",
		VolumeOptions: &mount.VolumeOptions{Labels: labels},
	}}
	_, err := docker.ContainerCreate(ctx,
		&container.Config{Image: d.imageOf(spec.Image), Hostname: spec.Name, Labels: labels, ExposedPorts: nat.PortSet{"22/tcp": {}}},
		&host,
		&network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			networkName(spec.Env): {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: address}},
		}}, nil, spec.Name)
	if errdefs.IsConflict(err) {
		err = ours(ctx, docker, spec)
	}
	if err != nil {
		return fmt.Errorf("make %s: %s", spec.Name, firstLine(err.Error()))
	}
	if err := docker.ContainerStart(ctx, spec.Name, container.StartOptions{}); err != nil {
		return fmt.Errorf("start %s: %s", spec.Name, firstLine(err.Error()))
	}
	return nil
}

// ours accepts a container that has the node's name only if it is that node.
func ours(ctx context.Context, docker *client.Client, spec providers.Spec) error {
	var found container.InspectResponse
	err := begun(ctx, func() (err error) { found, err = docker.ContainerInspect(ctx, spec.Name); return err })
	if err != nil {
		return err
	}
	if found.Config.Labels[labelEnv] != spec.Env || found.Config.Labels[labelNode] != spec.Name {
		return errors.New("a container of that name is on the local engine already, and it is not skep's")
	}
	return nil
}

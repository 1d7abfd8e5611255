// Package docker is the driver that makes machines of containers on the local
// Docker engine: each runs its own dockerd and sshd (see the folder node).
//
// The only record is the containers' labels: skep.env, skep.node, skep.role.
// It depends on the engine's API and must not know what runs on the nodes.
package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"skep/providers"
	"skep/tunnel"
	"skep/usage"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
)

// Name is the driver's name on the command line.
const Name = "docker"

const (
	localRegion     = "local"
	labelEnv        = "skep.env"
	labelNode       = "skep.node"
	labelRole       = "skep.role"
	labelRegion     = "skep.region"
	labelBatch      = "skep.batch"
	labelPrivileged = "skep.privileged" // of the network: whether nodes may be privileged
	bootTimeout     = 60 * time.Second
	stopSeconds     = 30
	makeTimeout     = 2 * time.Minute
)

// Driver makes nodes on one engine.
type Driver struct {
	Key     string // path of the private key that nodes admit
	Version string // of skep, the tag of the node image
	Sockets string // folder of sockets that lead to other engines than this computer's

	leaving sync.Mutex // held while a node leaves its network

	once    sync.Once
	docker  *client.Client
	openErr error
}

var (
	_ providers.Driver   = (*Driver)(nil)
	_ providers.Admitter = (*Driver)(nil)
)

// Engine is the client of the local engine, for those who read images there.
func (d *Driver) Engine() (*client.Client, error) {
	d.once.Do(func() {
		d.docker, d.openErr = d.open()
	})
	return d.docker, d.openErr
}

// Check asks the engine for a sign of life and for the node image, which it
// builds where it is missing and skep knows how.
func (d *Driver) Check(ctx context.Context, specs []providers.Spec) ([]providers.Spec, error) {
	specs = slices.Clone(specs)
	for i, s := range specs {
		switch {
		case s.Size != "":
			return nil, usage.Errorf("the docker driver knows no sizes: leave --size out")
		case s.Host != "":
			return nil, usage.Errorf("the docker driver makes its own machines: --host goes with -d ssh")
		case len(s.Options) > 0:
			return nil, usage.Errorf("the docker driver has no options: leave --driver-opt out")
		}
		specs[i].Region = cmp.Or(s.Region, localRegion)
	}
	if err := d.alive(ctx); err != nil {
		return nil, err
	}
	return specs, d.ensureImage(ctx, specs[0].Image)
}

func (d *Driver) alive(ctx context.Context) error {
	docker, err := d.Engine()
	if err != nil {
		return fmt.Errorf("the local Docker engine: %w", err)
	}
	if host := docker.DaemonHost(); !strings.HasPrefix(host, "unix://") && !strings.HasPrefix(host, "npipe://") {
		return fmt.Errorf("the Docker engine at %s is not this computer's: the nodes' SSH ports would be on that engine's own 127.0.0.1, out of reach", host)
	}
	if _, err := docker.Ping(ctx); err != nil {
		return fmt.Errorf("the local Docker engine does not answer at %s: is it running? %w", docker.DaemonHost(), cause(err))
	}
	return nil
}

// cause takes the client's own advice out of a connection error, for ours says more.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// List finds nodes by label, whether they run or not.
func (d *Driver) List(ctx context.Context, env string) ([]providers.Machine, error) {
	docker, err := d.Engine()
	if err != nil {
		return nil, err
	}
	found, err := docker.ContainerList(ctx, container.ListOptions{All: true, Filters: byEnv(env)})
	if err != nil && d.none(docker) {
		return nil, fmt.Errorf("no Docker engine on this computer: %w", providers.ErrAbsent)
	}
	if err != nil {
		return nil, fmt.Errorf("list the nodes on the local engine: %w", err)
	}
	machines := make([]providers.Machine, 0, len(found))
	for _, c := range found {
		machines = append(machines, d.machine(c))
	}
	providers.Sort(machines)
	return machines, nil
}

func byEnv(env string) filters.Args {
	if env == "" {
		return filters.NewArgs(filters.Arg("label", labelEnv))
	}
	return filters.NewArgs(filters.Arg("label", labelEnv+"="+env))
}

func (d *Driver) machine(c container.Summary) providers.Machine {
	m := providers.Machine{
		Env:     c.Labels[labelEnv],
		Name:    c.Labels[labelNode],
		Role:    providers.Role(c.Labels[labelRole]),
		Driver:  Name,
		Region:  c.Labels[labelRegion],
		Local:   true,
		Running: c.State == container.StateRunning || c.State == container.StateRestarting,
		Fresh:   c.State == container.StateCreated,
		Batch:   strings.Split(c.Labels[labelBatch], ","),
		Created: time.Unix(c.Created, 0).UTC(),
	}
	if n := c.NetworkSettings.Networks[networkName(m.Env)]; n != nil && n.IPAMConfig != nil {
		m.Address, m.PrivateAddress = n.IPAMConfig.IPv4Address, n.IPAMConfig.IPv4Address
	}
	m.SSH = tunnel.Endpoint{Name: m.Name, User: "root", KeyFile: d.Key}
	for _, p := range c.Ports {
		if p.PrivatePort == 22 && p.PublicPort != 0 {
			m.SSH.Address = fmt.Sprintf("127.0.0.1:%d", p.PublicPort)
		}
	}
	return m
}

// Start starts stopped or killed nodes; their addresses stay.
func (d *Driver) Start(ctx context.Context, machines []providers.Machine) error {
	return d.each(ctx, machines, func(ctx context.Context, docker *client.Client, m providers.Machine) error {
		if err := setRestart(ctx, docker, m.Name, whileStarted); err != nil {
			return err
		}
		if err := docker.ContainerStart(ctx, m.Name, container.StartOptions{}); err != nil {
			return fmt.Errorf("start %s: %s", m.Name, firstLine(err.Error()))
		}
		return nil
	})
}

// Stop lets dockerd end its containers before the node goes.
func (d *Driver) Stop(ctx context.Context, machines []providers.Machine) error {
	seconds := stopSeconds
	return d.each(ctx, machines, func(ctx context.Context, docker *client.Client, m providers.Machine) error {
		if err := setRestart(ctx, docker, m.Name, whileStopped); err != nil {
			return err
		}
		if err := docker.ContainerStop(ctx, m.Name, container.StopOptions{Timeout: &seconds}); err != nil {
			err = fmt.Errorf("stop %s: %s", m.Name, firstLine(err.Error()))
			if ctx.Err() != nil {
				return err // the engine carries out a stop that is broken off
			}
			return errors.Join(err, setRestart(ctx, docker, m.Name, whileStarted))
		}
		return nil
	})
}

// An engine that restarts brings its nodes back, those that were stopped
// excepted. The policy unless-stopped would say that in a word, but an engine
// that crashed takes the nodes that outlived it for stopped ones.
const (
	whileStarted = container.RestartPolicyAlways
	whileStopped = container.RestartPolicyDisabled
)

func setRestart(ctx context.Context, docker *client.Client, name string, policy container.RestartPolicyMode) error {
	_, err := docker.ContainerUpdate(ctx, name, container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: policy}})
	if err != nil {
		return fmt.Errorf("set the restart policy of %s: %s", name, firstLine(err.Error()))
	}
	return nil
}

// each runs f for all machines at once and returns what failed.
func (d *Driver) each(ctx context.Context, machines []providers.Machine, f func(context.Context, *client.Client, providers.Machine) error) error {
	docker, err := d.Engine()
	if err != nil {
		return err
	}
	errs := make([]error, len(machines))
	var g errgroup.Group
	for i, m := range machines {
		g.Go(func() error {
			errs[i] = f(ctx, docker, m)
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// unbroken is for calls that make something. One that is broken off is carried
// out by the engine all the same, after whoever clears up has looked: so it is
// let finish, whatever the context says meanwhile.
func unbroken(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), makeTimeout)
}

// begun asks for what another request has begun to make until it is there to be
// seen: its name is taken a while before.
func begun(ctx context.Context, look func() error) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := look()
		if !errdefs.IsNotFound(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func networkName(env string) string { return "skep-" + env }

func volumeName(node string) string { return "skep-" + node }

// firstLine keeps an engine's error to one line.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

package swarm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"

	"github.com/docker/docker/api/types/network"
	api "github.com/docker/docker/api/types/swarm"
)

// gatewayBridge is the bridge on each node that every container of an overlay
// network has a leg in, too. Its address reaches the container from the node
// without any published port.
const gatewayBridge = "docker_gwbridge"

// Fleet gives the engines of an environment.
type Fleet interface {
	// Manager is an engine that answers as a manager.
	Manager(ctx context.Context) (*Engine, error)
	// Engine is the engine of the node of that name.
	Engine(ctx context.Context, node string) (*Engine, error)
}

// Task is a running task and where it runs.
type Task struct {
	ID, Service, Container string
	Node                   string // name of its machine
	Address                string // on its own network
}

// Running lists the tasks of a service that run.
func (e *Engine) Running(ctx context.Context, service string) ([]Task, error) {
	tasks, err := e.Tasks(ctx, service)
	if err != nil {
		return nil, err
	}
	nodes, err := e.Members(ctx)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, n := range nodes {
		names[n.ID] = n.Description.Hostname
	}
	var running []Task
	for _, t := range tasks {
		if t.Status.State == api.TaskStateRunning && t.DesiredState == api.TaskStateRunning && t.Status.ContainerStatus != nil {
			running = append(running, Task{
				ID: t.ID, Service: service, Container: t.Status.ContainerStatus.ContainerID,
				Node: names[t.NodeID], Address: overlayAddress(t),
			})
		}
	}
	return running, nil
}

// overlayAddress is the task's address on the first network that is not the
// ingress.
func overlayAddress(t api.Task) string {
	for _, a := range t.NetworksAttachments {
		if a.Network.Spec.Ingress || len(a.Addresses) == 0 {
			continue
		}
		if prefix, err := netip.ParsePrefix(a.Addresses[0]); err == nil {
			return prefix.Addr().String()
		}
	}
	return ""
}

// Dial connects to a port of a container on this engine's node.
func (e *Engine) Dial(ctx context.Context, containerID string, port int) (net.Conn, error) {
	address, err := e.address(ctx, containerID)
	if err != nil {
		return nil, err
	}
	return e.conn.Dial(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
}

// address is where the node itself reaches the container. Inspecting the
// container does not tell its leg in docker_gwbridge; the bridge does.
func (e *Engine) address(ctx context.Context, containerID string) (string, error) {
	bridge, err := e.NetworkInspect(ctx, gatewayBridge, network.InspectOptions{})
	if err == nil {
		if leg, ok := bridge.Containers[containerID]; ok {
			prefix, err := netip.ParsePrefix(leg.IPv4Address)
			if err != nil {
				return "", fmt.Errorf("address of a task on %s: %w", e.Node(), err)
			}
			return prefix.Addr().String(), nil
		}
	}
	// On no overlay network: then it is on the node's own bridge.
	c, err := e.ContainerInspect(ctx, containerID)
	if err != nil {
		return "", fmt.Errorf("look for a task on %s: %s", e.Node(), brief(err))
	}
	if c.NetworkSettings != nil {
		if leg := c.NetworkSettings.Networks["bridge"]; leg != nil && leg.IPAddress != "" {
			return leg.IPAddress, nil
		}
	}
	return "", fmt.Errorf("a task on %s has no address that its node reaches", e.Node())
}

// Dialer reaches services and stacks of a fleet: any running task will do.
type Dialer struct{ Fleet Fleet }

// DialService connects to a port of a running task of the service, trying one
// after another, in any order, so that connections spread.
func (d Dialer) DialService(ctx context.Context, service string, port int) (net.Conn, error) {
	manager, err := d.Fleet.Manager(ctx)
	if err != nil {
		return nil, err
	}
	tasks, err := manager.serving(ctx, service)
	if err != nil {
		return nil, err
	}
	if len(tasks) == 0 {
		return nil, fmt.Errorf("service %s has no running task", service)
	}
	// #nosec G404 -- a choice among equals, no secret
	rand.Shuffle(len(tasks), func(i, j int) { tasks[i], tasks[j] = tasks[j], tasks[i] })
	var errs []error
	for _, t := range tasks {
		conn, err := d.DialTask(ctx, t, port)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// serving are the running tasks of a service or, where a stack has that name,
// of all its services: any server of a database does for a page of it.
func (e *Engine) serving(ctx context.Context, name string) ([]Task, error) {
	services, err := e.StackServices(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(services) == 0 {
		services = []string{name}
	}
	var tasks []Task
	for _, service := range services {
		running, err := e.Running(ctx, service)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, running...)
	}
	return tasks, nil
}

// DialTask connects to a port of one task.
func (d Dialer) DialTask(ctx context.Context, t Task, port int) (net.Conn, error) {
	engine, err := d.Fleet.Engine(ctx, t.Node)
	if err != nil {
		return nil, err
	}
	conn, err := engine.Dial(ctx, t.Container, port)
	if err != nil {
		return nil, fmt.Errorf("%s on %s, port %d: %w", t.Service, t.Node, port, err)
	}
	return conn, nil
}

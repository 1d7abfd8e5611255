package swarm

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	api "github.com/docker/docker/api/types/swarm"
)

// PortKey is a published port as PublishedPorts knows it.
func PortKey(p api.PortConfig) string { return fmt.Sprintf("%d/%s", p.PublishedPort, p.Protocol) }

// PublishedPorts are the ports that services publish, and the service of each.
func (e *Engine) PublishedPorts(ctx context.Context) (map[string]string, error) {
	services, err := e.ServiceList(ctx, api.ServiceListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the services: %s", brief(err))
	}
	taken := map[string]string{}
	for _, s := range services {
		for _, p := range append(slices.Clone(s.Endpoint.Ports), endpointPorts(s.Spec)...) {
			taken[PortKey(p)] = s.Spec.Name
		}
	}
	return taken, nil
}

// Opened are the published ports by number, and the services that leave the
// choice of one to each node.
func (e *Engine) Opened(ctx context.Context) (ports []api.PortConfig, chosen []string, err error) {
	services, err := e.ServiceList(ctx, api.ServiceListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("list the services: %s", brief(err))
	}
	for _, s := range services {
		for _, p := range append(slices.Clone(s.Endpoint.Ports), endpointPorts(s.Spec)...) {
			switch {
			case p.PublishedPort != 0:
				ports = append(ports, p)
			case p.PublishMode == api.PortConfigPublishModeHost && !slices.Contains(chosen, s.Spec.Name):
				chosen = append(chosen, s.Spec.Name)
			}
		}
	}
	return ports, chosen, nil
}

func endpointPorts(s api.ServiceSpec) []api.PortConfig {
	if s.EndpointSpec == nil {
		return nil
	}
	return s.EndpointSpec.Ports
}

// Listening are the TCP ports that programs of the node listen on, but for
// those on its loopback addresses alone.
func (e *Engine) Listening(ctx context.Context) ([]int, error) {
	out, err := e.conn.Run(ctx, "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; true", nil)
	if err != nil {
		return nil, err
	}
	return listening(out), nil
}

// AwaitPort returns once no more than so many of the nodes have the port bound.
func AwaitPort(ctx context.Context, nodes []*Engine, port, most int) error {
	return poll(ctx, func() (string, error) {
		has := 0
		for _, e := range nodes {
			bound, err := e.Listening(ctx)
			if err != nil {
				return "", err
			}
			if slices.Contains(bound, port) {
				has++
			}
		}
		if has > most {
			return fmt.Sprintf("port %d is still bound on %d nodes", port, has), nil
		}
		return "", nil
	})
}

// listening reads lines of /proc/net/tcp: a number, the local address, the
// remote one, the state, of which 0A is listening.
func listening(text string) []int {
	var ports []int
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != "0A" {
			continue
		}
		address, hex, _ := strings.Cut(fields[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		// 127.0.0.1 and ::1, as the kernel writes them.
		loopback := address == "0100007F" || address == "00000000000000000000000001000000" || address == "0B00007F"
		if err == nil && !loopback {
			ports = append(ports, int(port))
		}
	}
	return ports
}

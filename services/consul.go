package services

import (
	"strconv"
	"strings"

	api "github.com/docker/docker/api/types/swarm"
)

// ConsulImage is the image of Consul unless another is named.
const ConsulImage = "consul:1.9.5"

const (
	consulName = "consul"
	// ConsulPort is that of the HTTP API.
	ConsulPort = 8500
	// ConsulAlive answers once the server has a leader.
	ConsulAlive = "/v1/operator/raft/configuration"
)

// Consul is one server, on the node that has its data. It speaks to itself
// alone, by an address that stays: a single server that came back with another
// would not know itself any more.
func Consul(image string) Stack {
	pin := Pin{Label: "skep." + consulName, Nodes: 1}
	s := database(consulName, consulName, image, rqliteNetwork, consulName+"data", "/consul/data")
	c := s.TaskTemplate.ContainerSpec
	c.Hostname = consulName
	c.Command = []string{"consul", "agent", "-server", "-bootstrap-expect", "1", "-node", consulName, "-data-dir", "/consul/data",
		"-bind", "127.0.0.1", "-client", "0.0.0.0", "-ui", "-disable-host-node-id"}
	one := uint64(1)
	s.Mode = api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &one}}
	s.TaskTemplate.Placement = pin.constraint()
	stack := Stack{Name: consulName, Networks: []string{rqliteNetwork}, Pins: []Pin{pin}}
	stack.add(s, Probe{Port: ConsulPort, Path: ConsulAlive})
	return stack
}

// consulConfig is what a client takes for an address, HOST:PORT with http:// or
// https:// before it or not; "" is the stack's.
func consulConfig(address string) map[string]string {
	if address == "" {
		address = consulName + ":" + strconv.Itoa(ConsulPort)
	}
	scheme := "http"
	if before, after, ok := strings.Cut(address, "://"); ok {
		scheme, address = before, after
	}
	return map[string]string{"address": strings.TrimSuffix(address, "/"), "scheme": scheme}
}

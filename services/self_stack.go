package services

import (
	"fmt"
	"strconv"

	api "github.com/docker/docker/api/types/swarm"
)

const (
	srvService    = "rqlite-svc"
	srvHealthPort = 8053
	discoveryName = "discovery"
	// DiscoveryPort is that of the discovery service.
	DiscoveryPort = 8080
)

func isSelf(s api.ServiceSpec) bool { return s.TaskTemplate.ContainerSpec.Image == selfImage }

// dns is the name of the cluster's own DNS server.
func (c RqliteCluster) dns() string { return c.service() + "-dns" }

// rqliteDNS serves SRV records of the cluster's tasks, from two nodes, for the
// task of one goes with its node.
func rqliteDNS(c RqliteCluster) api.ServiceSpec {
	s := database(c.stack(), c.dns(), selfImage, rqliteNetwork, "", "")
	container := s.TaskTemplate.ContainerSpec
	container.Mounts = nil
	container.Command = []string{"/skep", "discovery", "dns", "--health", ":" + strconv.Itoa(srvHealthPort),
		"--srv", fmt.Sprintf("_%s._tcp.%s=tasks.%s:%d", srvService, c.service(), c.service(), rqliteRaftPort)}
	two := uint64(2)
	s.Mode = api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &two}}
	return s
}

// Discovery is the discovery service on one node, where its file is.
func Discovery() Stack {
	pin := Pin{Label: "skep." + discoveryName, Nodes: 1}
	s := database(discoveryName, discoveryName, selfImage, rqliteNetwork, discoveryName+"data", "/data")
	container := s.TaskTemplate.ContainerSpec
	container.Command = []string{"/skep", "discovery", "serve", "--data", "/data/discovery.db", "--addr", ":" + strconv.Itoa(DiscoveryPort)}
	one := uint64(1)
	s.Mode = api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &one}}
	s.TaskTemplate.Placement = pin.constraint()
	stack := Stack{Name: discoveryName, Networks: []string{rqliteNetwork}, Pins: []Pin{pin}}
	stack.add(s, Probe{Port: DiscoveryPort, Path: "/healthz"})
	return stack
}

func discoveryURL() string { return "http://" + discoveryName + ":" + strconv.Itoa(DiscoveryPort) }

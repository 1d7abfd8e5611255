package services

import (
	"fmt"
	"strconv"
	"strings"

	api "github.com/docker/docker/api/types/swarm"
)

// EtcdImage is the image of etcd unless another is named. It has no shell.
const EtcdImage = "rancher/mirrored-coreos-etcd:v3.6.4"

const (
	etcdName = "etcd"
	// EtcdPort is where clients are served.
	EtcdPort     = 2379
	etcdPeerPort = 2380
	etcdMembers  = 3
)

func etcdMember(n int) string { return fmt.Sprintf("%s%d", etcdName, n) }

// EtcdEndpoints are the members' addresses, as clients take them.
func EtcdEndpoints() []string {
	var all []string
	for n := range etcdMembers {
		all = append(all, etcdMember(n+1)+":"+strconv.Itoa(EtcdPort))
	}
	return all
}

// Etcd is a cluster of so many members, each a service pinned to a node of its
// own: a member is known by its name, which is that of its service, and by its
// data. One member works on a single node, and has nobody to stand in for it.
func Etcd(image string, members int) Stack {
	stack := Stack{Name: etcdName, Networks: []string{rqliteNetwork}}
	var peers []string
	for n := range members {
		peers = append(peers, fmt.Sprintf("%s=http://%s:%d", etcdMember(n+1), etcdMember(n+1), etcdPeerPort))
	}
	for n := range members {
		name := etcdMember(n + 1)
		pin := Pin{Label: "skep." + etcdName, Value: strconv.Itoa(n + 1), Nodes: 1}
		stack.Pins = append(stack.Pins, pin)
		s := database(etcdName, name, image, rqliteNetwork, name+"data", "/etcd-data")
		c := s.TaskTemplate.ContainerSpec
		c.Hostname = name
		c.Command = []string{"etcd"}
		c.Env = []string{
			"ETCD_NAME=" + name, "ETCD_DATA_DIR=/etcd-data/member",
			fmt.Sprintf("ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:%d", EtcdPort), fmt.Sprintf("ETCD_ADVERTISE_CLIENT_URLS=http://%s:%d", name, EtcdPort),
			fmt.Sprintf("ETCD_LISTEN_PEER_URLS=http://0.0.0.0:%d", etcdPeerPort), fmt.Sprintf("ETCD_INITIAL_ADVERTISE_PEER_URLS=http://%s:%d", name, etcdPeerPort),
			"ETCD_INITIAL_CLUSTER=" + strings.Join(peers, ","), "ETCD_INITIAL_CLUSTER_TOKEN=skep", "ETCD_INITIAL_CLUSTER_STATE=new",
			"ETCD_AUTO_COMPACTION_RETENTION=1",
		}
		one := uint64(1)
		s.Mode = api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &one}}
		s.TaskTemplate.Placement = pin.constraint()
		stack.add(s, Probe{Port: EtcdPort, Path: "/health"})
	}
	return stack
}

package services

import (
	_ "embed"
	"fmt"
	"strings"

	api "github.com/docker/docker/api/types/swarm"
)

// RethinkImage is the image of RethinkDB unless another is named.
const RethinkImage = "rethinkdb:2.4"

const (
	rethinkName    = "rethink"
	rethinkNetwork = "dbnet"
	// RethinkPort is that of the admin UI.
	RethinkPort = 8080
)

//go:embed rethink.sh
var rethinkStart string

// Rethink is the seed db0 on one pinned node and joiners db1 … dbN, each of
// them a server on every node. All of them find each other anew at every start.
func Rethink(image string, joiners int) Stack {
	stack := Stack{Name: rethinkName, Networks: []string{rethinkNetwork}, Pins: []Pin{seedPin()}}
	for n := range joiners + 1 {
		stack.Services = append(stack.Services, rethinkServer(image, n))
		stack.Ready = append(stack.Ready, Probe{Service: rethinkService(n), Port: RethinkPort, Path: "/"})
	}
	return stack
}

func seedPin() Pin { return Pin{Label: "skep.rethink.db0", Nodes: 1, Managers: true} }

func rethinkService(n int) string { return fmt.Sprintf("db%d", n) }

func rethinkServer(image string, n int) api.ServiceSpec {
	name := rethinkService(n)
	s := database(rethinkName, name, image, rethinkNetwork, name+"data", "/data")
	c := s.TaskTemplate.ContainerSpec
	c.Command = []string{"bash", "-c", rethinkStart}
	c.Env = []string{
		"SKEP_SERVER={{.Service.Name}}_{{.Node.Hostname}}",
		"SKEP_PEERS=" + strings.Join(rethinkPeers(n), " "),
	}
	if n == 0 {
		// A local volume does not follow a task: the seed stays where its data is.
		one := uint64(1)
		s.Mode = api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &one}}
		s.TaskTemplate.Placement = seedPin().constraint()
		c.Env = append(c.Env, "SKEP_SEED=true")
	}
	return s
}

// rethinkPeers are the names behind which the n-th service looks for peers: the
// earlier ones and its own, so that adding a later one restarts nobody.
func rethinkPeers(n int) []string {
	var names []string
	for i := range max(n, 1) + 1 {
		names = append(names, "tasks."+rethinkService(i))
	}
	return names
}

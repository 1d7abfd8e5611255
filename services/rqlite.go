package services

import (
	_ "embed"
	"strconv"
)

// RqliteImage is the image of rqlite unless another is named.
const RqliteImage = "rqlite/rqlite:8.43.4"

const (
	rqliteName    = "rqlite"
	rqliteNetwork = "dbnet"
	// RqlitePort is that of the HTTP API.
	RqlitePort = 4001
	// expectVariable keeps the number of servers that bootstrapped the cluster: a
	// later create must not change it, or every server would restart for it.
	expectVariable = "SKEP_EXPECT"
	rqliteHost     = "rq-" // before the node's name: a server's host name and id
)

//go:embed rqlite.sh
var rqliteStart string

// Rqlite is a cluster of so many rqlite servers, on a node each, that find each
// other through the service's DNS name. All of them together bootstrap it: with
// more servers than are waited for, two halves could each begin one.
func Rqlite(image string, servers int) Stack {
	pin := Pin{Label: "skep.rqlite", Nodes: servers}
	s := database(rqliteName, rqliteName, image, rqliteNetwork, "rqlitedata", "/rqlite/file")
	c := s.TaskTemplate.ContainerSpec
	// A name per node and not an address: it stays when a task comes back.
	c.Hostname = rqliteHost + "{{.Node.Hostname}}"
	c.Env = []string{expectVariable + "=" + strconv.Itoa(servers)}
	s.TaskTemplate.Placement = pin.constraint()
	c.Command = []string{"sh", "-c", rqliteStart}
	stack := Stack{
		Name:     rqliteName,
		Networks: []string{rqliteNetwork},
		Pins:     []Pin{pin},
		Ready:    []Probe{{Service: rqliteName, Port: RqlitePort, Path: "/readyz"}},
	}
	stack.Services = append(stack.Services, s)
	return stack
}

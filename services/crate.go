package services

import (
	_ "embed"
	"strconv"
	"strings"
)

// CrateImage is the image of CrateDB unless another is named.
const CrateImage = "crate:5.10.3"

const (
	crateName    = "crate"
	crateNetwork = "cratenet"
	// CratePort is that of the admin UI and of SQL over HTTP.
	CratePort = 4200
	// crateMap is what the server's own checks ask of its node's kernel.
	crateMap = 262144
	// What a later create has to know: which nodes began the cluster.
	mastersVariable = "SKEP_MASTERS"
)

//go:embed crate.sh
var crateStart string

// Crate is a server on every node. They find each other by the service's DNS
// name; those on the named nodes begin the cluster, once. How many there should
// be tells them when to recover their data.
func Crate(image string, masters []string, nodes int) Stack {
	stack := Stack{Name: crateName, Networks: []string{crateNetwork}, Sysctls: []Sysctl{{Name: "vm.max_map_count", Least: crateMap}}}
	s := database(crateName, crateName, image, crateNetwork, "cratedata", "/data")
	c := s.TaskTemplate.ContainerSpec
	c.Hostname = "crate-{{.Node.Hostname}}"
	c.Command = []string{"bash", "-c", crateStart}
	c.Env = []string{
		"SKEP_NODE={{.Node.Hostname}}",
		mastersVariable + "=" + strings.Join(masters, ","),
		"SKEP_NODES=" + strconv.Itoa(nodes),
		"SKEP_RECOVER=" + strconv.Itoa(nodes/2+1),
	}
	stack.add(s, Probe{Port: CratePort, Path: "/"})
	return stack
}

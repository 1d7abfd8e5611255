package services

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	api "github.com/docker/docker/api/types/swarm"
)

// RqliteImage is the image of rqlite unless another is named.
const RqliteImage = "rqlite/rqlite:8.43.4"

const (
	rqliteName    = "rqlite"
	rqliteNetwork = "dbnet"
	// RqlitePort is that of the HTTP API.
	RqlitePort     = 4001
	rqliteRaftPort = 4002
	// What a later create has to know of a cluster is in its servers' variables:
	// how many of them bootstrapped it, which nobody may change, for every server
	// would restart; how they found each other, and under which key.
	expectVariable = "SKEP_EXPECT"
	modeVariable   = "SKEP_DISCOVERY"
	keyVariable    = "SKEP_KEY"
	rqliteHost     = "rq-" // before the node's name: a server's host name and id
	rqliteReader   = "rr-" // the same of a server that does not vote
)

//go:embed rqlite.sh
var rqliteStart string

// RqliteCluster is all that a cluster's stack is made of.
type RqliteCluster struct {
	Name    string // "" is the environment's own
	Image   string
	Mode    RqliteMode
	Voters  int  // servers with a vote, a node each
	Expect  int  // of them bootstrap the cluster together
	Readers bool // a server without a vote on every other node
	Key     string
	Consul  string // address of a Consul that is there; "" is the stack
}

// names within an environment: those of one cluster are nobody else's.
func (c RqliteCluster) stack() string {
	if c.Name == "" {
		return rqliteName
	}
	return rqliteName + " " + c.Name
}

func (c RqliteCluster) service() string { return c.named(rqliteName, "-") }

func (c RqliteCluster) reader() string { return c.service() + "-ro" }

func (c RqliteCluster) named(what, between string) string {
	if c.Name == "" {
		return what
	}
	return what + between + c.Name
}

// voter is the name of the n-th service, from 1, where each voter has its own.
func (c RqliteCluster) voter(n int) string {
	if c.Name == "" {
		return fmt.Sprintf("rq%d", n)
	}
	return fmt.Sprintf("rq-%s-%d", c.Name, n)
}

// label marks the nodes that have a voter.
func (c RqliteCluster) label() string {
	if c.Mode == RqliteBootstrap {
		return "skep." + c.named("rq", "-")
	}
	return "skep." + c.service()
}

// keyLabel keeps the cluster's key, by its way of discovery.
func (c RqliteCluster) keyLabel() string {
	return "skep." + c.service() + "." + string(c.Mode)
}

func (c RqliteCluster) host(prefix string) string {
	if c.Name == "" {
		return prefix
	}
	return prefix + c.Name + "-"
}

// servers are the services that are voters.
func (c RqliteCluster) servers() []string {
	if c.Mode != RqliteBootstrap {
		return []string{c.service()}
	}
	var names []string
	for n := range c.Voters {
		names = append(names, c.voter(n+1))
	}
	return names
}

// id is what a server is called in its cluster.
func (c RqliteCluster) id(service, node string) string {
	switch {
	case service == c.reader():
		return c.host(rqliteReader) + node
	case c.Mode == RqliteBootstrap:
		return service
	}
	return c.host(rqliteHost) + node
}

// Rqlite is a cluster of rqlite servers, on a node each. All that are expected
// bootstrap it together: with more servers than are waited for, two halves could
// each begin one. Further nodes may have servers that do not vote.
func Rqlite(c RqliteCluster) Stack {
	stack := Stack{Name: c.stack(), Networks: []string{rqliteNetwork}}
	if c.Mode == RqliteDNSSRV {
		stack.add(rqliteDNS(c), Probe{Port: srvHealthPort, Path: "/healthz"})
	}
	alive := Probe{Port: RqlitePort, Path: c.Mode.alive()}
	if c.Mode == RqliteBootstrap {
		for n := range c.Voters {
			pin := Pin{Label: c.label(), Value: strconv.Itoa(n + 1), Nodes: 1}
			stack.Pins = append(stack.Pins, pin)
			name := c.voter(n + 1)
			s := rqliteServer(c, name, name, name+"data", c.voterArgs(n+1))
			one := uint64(1)
			s.Mode = api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &one}}
			s.TaskTemplate.Placement = pin.constraint()
			stack.add(s, alive)
		}
	} else {
		pin := Pin{Label: c.label(), Nodes: c.Voters}
		stack.Pins = []Pin{pin}
		s := rqliteServer(c, c.service(), c.host(rqliteHost)+"{{.Node.Hostname}}", c.Mode.volume(c), c.voterArgs(0))
		s.TaskTemplate.Placement = pin.constraint()
		stack.add(s, alive)
	}
	if c.Readers {
		s := rqliteServer(c, c.reader(), c.host(rqliteReader)+"{{.Node.Hostname}}", c.named("rqlite", "-")+"-ro-data", c.readerArgs())
		s.TaskTemplate.Placement = &api.Placement{Constraints: c.unlabelled()}
		stack.add(s, Probe{Port: RqlitePort, Path: c.Mode.alive(), None: true})
	}
	return stack
}

// unlabelled are the constraints of nodes that have no voter.
func (c RqliteCluster) unlabelled() []string {
	if c.Mode != RqliteBootstrap {
		return []string{"node.labels." + c.label() + "!=true"}
	}
	var all []string
	for n := range c.Voters {
		all = append(all, fmt.Sprintf("node.labels.%s!=%d", c.label(), n+1))
	}
	return all
}

func rqliteServer(c RqliteCluster, name, host, volume string, args []string) api.ServiceSpec {
	s := database(c.stack(), name, c.Image, rqliteNetwork, volume, "/rqlite/file")
	container := s.TaskTemplate.ContainerSpec
	// A name per node and not an address: it stays when a task comes back.
	container.Hostname = host
	container.Env = []string{expectVariable + "=" + strconv.Itoa(c.Expect), modeVariable + "=" + string(c.Mode)}
	if c.Key != "" {
		container.Env = append(container.Env, keyVariable+"="+c.Key)
	}
	if c.Mode == RqliteService {
		container.Env = append(container.Env, "SKEP_PEERS=tasks."+c.service())
	}
	if c.Mode == RqliteDNSSRV && name != c.reader() {
		container.Env = append(container.Env, "SKEP_DNS=tasks."+c.dns())
	}
	container.Command = append([]string{"sh", "-c", c.Mode.start(), "rqlite"}, args...)
	return s
}

// voterArgs are the arguments by which voters find each other; n is the voter's
// own number where each has one.
func (c RqliteCluster) voterArgs(n int) []string {
	expect := []string{"-bootstrap-expect", strconv.Itoa(c.Expect)}
	disco := func(mode string, config any) []string {
		text, err := json.Marshal(config)
		if err != nil {
			panic(err) // strings alone
		}
		return []string{"-disco-mode", mode, "-disco-config", string(text)}
	}
	switch c.Mode {
	case RqliteBootstrap:
		// The first ones and its own: adding a later one restarts nobody.
		var peers []string
		for i := range max(c.Expect, n) {
			peers = append(peers, c.voter(i+1)+":"+strconv.Itoa(rqliteRaftPort))
		}
		return append(expect, "-join", strings.Join(peers, ","))
	case RqliteDNSSRV:
		return append(expect, disco("dns-srv", map[string]string{"name": c.service(), "service": srvService})...)
	case RqliteEtcd:
		return append(disco("etcd-kv", map[string][]string{"endpoints": EtcdEndpoints()}), "-disco-key", c.Key)
	case RqliteConsul:
		return append(disco("consul-kv", consulConfig(c.Consul)), "-disco-key", c.Key)
	case RqliteService:
		// The raft of its day takes twice as long to elect as today's by default.
		return []string{"-raft-timeout", "500ms", "-raft-election-timeout", "500ms", "-disco-url", discoveryURL(), "-disco-id", c.Key}
	}
	return append(expect, disco("dns", map[string]string{"name": "tasks." + c.service()})...)
}

// readerArgs join the voters, whatever way these found each other.
func (c RqliteCluster) readerArgs() []string {
	var hosts []string
	for _, s := range c.servers() {
		if c.Mode != RqliteBootstrap {
			s = "tasks." + s
		}
		hosts = append(hosts, s+":"+strconv.Itoa(rqliteRaftPort))
	}
	return []string{"-raft-non-voter", "-join-attempts", "60", "-join", strings.Join(hosts, ",")}
}

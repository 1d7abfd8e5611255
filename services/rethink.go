package services

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	api "github.com/docker/docker/api/types/swarm"
)

// RethinkImage is the image of RethinkDB unless another is named.
const RethinkImage = "rethinkdb:2.4"

const (
	// RethinkName is the stack's, and what a tunnel to any of its servers names.
	RethinkName    = "rethink"
	rethinkNetwork = "dbnet"
	// RethinkPort is that of the admin UI.
	RethinkPort   = 8080
	rethinkDriver = 28015
	// Where rethink.sh finds them, and an app that is given the same.
	rethinkPassword = "rethink-password"
	rethinkCert     = "rethink-cert"
	rethinkKey      = "rethink-key"
	rethinkCA       = "rethink-ca"
	rethinkCAPath   = "/etc/skep/rethink-ca"
	cacheVariable   = "SKEP_CACHE_MB"
	// rethinkSettle is how long a server is given to be back in the cluster
	// before the next of its service is updated, and rethinkMonitor how long to
	// be there at all. Between two services skep asks the database itself.
	rethinkSettle  = 4 * time.Second
	rethinkMonitor = time.Second
)

//go:embed rethink.sh
var rethinkStart string

// RethinkLayout is what a cluster of RethinkDB is made of. Secrets and the
// config are named, with their versions; their content is nobody's to see.
type RethinkLayout struct {
	Image    string
	Joiners  int // services db1, db2, …, each a server on every node
	CacheMB  int // of each server; 0 is its share of a third of the node's memory
	Password string
	TLS      RethinkTLS
}

// RethinkTLS names what servers prove themselves with; all empty where they
// speak plainly.
type RethinkTLS struct{ CA, Cert, Key string }

// Rethink is the seed db0 on one pinned node and joiners db1 … dbN, each of
// them a server on every node. All of them find each other anew at every start,
// which the anchor keeps possible.
func Rethink(l RethinkLayout) Stack {
	stack := Stack{Name: RethinkName, Networks: []string{rethinkNetwork}, Pins: []Pin{seedPin()}, InTurn: true}
	for n := range l.Joiners + 1 {
		stack.Services = append(stack.Services, rethinkServer(l, n))
	}
	stack.Services = append(stack.Services, anchor(RethinkName, l.Image, rethinkNetwork))
	return stack
}

func seedPin() Pin { return Pin{Label: "skep.rethink.db0", Nodes: 1, Managers: true} }

func rethinkService(n int) string { return fmt.Sprintf("db%d", n) }

func rethinkServer(l RethinkLayout, n int) api.ServiceSpec {
	name := rethinkService(n)
	s := database(RethinkName, name, l.Image, rethinkNetwork, name+"data", "/data")
	s.UpdateConfig.Delay, s.UpdateConfig.Monitor = rethinkSettle, rethinkMonitor
	c := s.TaskTemplate.ContainerSpec
	c.Command = []string{"bash", "-c", rethinkStart}
	c.Env = []string{
		"SKEP_SERVER={{.Service.Name}}_{{.Node.Hostname}}",
		"SKEP_PEERS=" + strings.Join(rethinkPeers(n), " "),
		"SKEP_SERVERS=" + strconv.Itoa(l.Joiners+1),
	}
	if l.CacheMB > 0 {
		c.Env = append(c.Env, cacheVariable+"="+strconv.Itoa(l.CacheMB))
	}
	c.Secrets = append(c.Secrets, secret(l.Password, rethinkPassword))
	if l.TLS.Cert != "" {
		c.Secrets = append(c.Secrets, secret(l.TLS.Cert, rethinkCert), secret(l.TLS.Key, rethinkKey))
		c.Configs = append(c.Configs, &api.ConfigReference{
			ConfigName: l.TLS.CA,
			File:       &api.ConfigReferenceFileTarget{Name: rethinkCAPath, UID: "0", GID: "0", Mode: 0o444},
		})
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

// secret mounts a secret for root alone, under a name that has no version.
func secret(name, file string) *api.SecretReference {
	return &api.SecretReference{
		SecretName: name,
		File:       &api.SecretReferenceFileTarget{Name: file, UID: "0", GID: "0", Mode: 0o400},
	}
}

// rethinkPeers are the names behind which the n-th service looks for peers: the
// earlier ones and its own.
func rethinkPeers(n int) []string {
	var names []string
	for i := range max(n, 1) + 1 {
		names = append(names, "tasks."+rethinkService(i))
	}
	return names
}

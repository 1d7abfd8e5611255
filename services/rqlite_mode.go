package services

import (
	_ "embed"
	"slices"
	"strings"

	"skep/usage"
)

// RqliteMode is how the servers of a cluster find each other.
type RqliteMode string

// The ways of clustering that rqlite knows.
const (
	RqliteDNS       RqliteMode = "dns"       // the addresses of the service's tasks
	RqliteBootstrap RqliteMode = "bootstrap" // a list of names, given to each
	RqliteDNSSRV    RqliteMode = "dns-srv"   // SRV records, with ports
	RqliteEtcd      RqliteMode = "etcd"      // a key in etcd
	RqliteConsul    RqliteMode = "consul"    // a key in Consul
	RqliteService   RqliteMode = "service"   // the discovery service, up to rqlite 6
)

// RqliteModes are all of them, the usual one first.
func RqliteModes() []RqliteMode {
	return []RqliteMode{RqliteDNS, RqliteBootstrap, RqliteDNSSRV, RqliteEtcd, RqliteConsul, RqliteService}
}

// RqliteServiceImage is the image of the last rqlite but two that speaks to a
// discovery service.
const RqliteServiceImage = "rqlite/rqlite:4.6.0"

//go:embed rqlite4.sh
var rqlite4Start string

func (m RqliteMode) check() error {
	if slices.Contains(RqliteModes(), m) {
		return nil
	}
	var names []string
	for _, known := range RqliteModes() {
		names = append(names, string(known))
	}
	return usage.Errorf("%q is no way of discovery: use %s", m, strings.Join(names, ", "))
}

// start is the script of a server.
func (m RqliteMode) start() string {
	if m == RqliteService {
		return rqlite4Start
	}
	return rqliteStart
}

// alive is what a server answers once it serves.
func (m RqliteMode) alive() string {
	if m == RqliteService {
		return "/status"
	}
	return "/readyz"
}

// volume is the one of the voters where they share a service. Old servers write
// other files than new ones.
func (m RqliteMode) volume(c RqliteCluster) string {
	what := "rqlite"
	if m == RqliteService {
		what = "rqlite4"
	}
	if c.Name == "" {
		return what + "data"
	}
	return what + "-" + c.Name + "-data"
}

// Image is the one unless another is named.
func (m RqliteMode) Image() string {
	if m == RqliteService {
		return RqliteServiceImage
	}
	return RqliteImage
}

package services

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"skep/swarm"
	"skep/usage"

	"github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/swarm"
)

// RqliteOptions are what `rqlite create` asks for.
type RqliteOptions struct {
	Name   string
	Mode   RqliteMode // "" is that of the cluster there is, else dns
	Image  string     // "" is the mode's
	Voters int        // 0 is as many as there are, else 1, 3 or 5 of the nodes
	Consul string     // "" is a stack of the environment
}

var rqliteClusterName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$`)

// CheckRqliteName refuses a name that would not fit into host names, or be taken
// for another cluster's service. The empty one is the environment's own cluster.
func CheckRqliteName(name string) error {
	if name == "" {
		return nil
	}
	last := name[strings.LastIndex(name, "-")+1:]
	if !rqliteClusterName.MatchString(name) || last == "ro" || last == "dns" {
		return usage.Errorf("%q is no name for a cluster: use a to z, 0 to 9 and -, starting with a letter, 15 at most, not ending in ro or dns", name)
	}
	return nil
}

// Check refuses what cannot be created, before anything is touched.
func (o RqliteOptions) Check() error {
	if err := CheckRqliteName(o.Name); err != nil {
		return err
	}
	if o.Mode != "" {
		if err := o.Mode.check(); err != nil {
			return err
		}
	}
	if !slices.Contains([]int{0, 1, 3, 5}, o.Voters) {
		return usage.Errorf("%d voters: use 1, 3 or 5; more nodes get servers that do not vote", o.Voters)
	}
	if o.Consul != "" {
		if o.Mode != RqliteConsul {
			return usage.Errorf("--consul goes with --discovery consul")
		}
		config := consulConfig(o.Consul)
		if (config["scheme"] != "http" && config["scheme"] != "https") || !consulAddress.MatchString(config["address"]) {
			return usage.Errorf("%q is not the address of a Consul: use HOST:PORT, or http:// or https:// before it", o.Consul)
		}
	}
	return nil
}

var consulAddress = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]*:[0-9]{1,5}$`)

// CreateRqlite creates a cluster, with the service by which its servers find
// each other where they need one, or brings it to what it should be.
func (x Executor) CreateRqlite(ctx context.Context, o RqliteOptions) error {
	if err := o.Check(); err != nil {
		return err
	}
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return err
	}
	c, err := x.rqliteCluster(ctx, manager, o)
	if err != nil {
		return err
	}
	if err := x.rqliteKey(ctx, manager, &c); err != nil {
		return err
	}
	if err := x.shrinkRqlite(ctx, manager, c); err != nil {
		return err
	}
	if err := x.Deploy(ctx, Rqlite(c)); err != nil {
		return err
	}
	return x.pruneRqlite(ctx, manager, c)
}

// rqliteCluster is what the options and the cluster that is there make.
func (x Executor) rqliteCluster(ctx context.Context, manager *swarm.Engine, o RqliteOptions) (RqliteCluster, error) {
	c, err := x.existingRqlite(ctx, manager, o.Name)
	if err != nil {
		return c, err
	}
	if o.Mode != "" && c.Mode != "" && o.Mode != c.Mode {
		return c, fmt.Errorf("%s finds its servers by %s, and keeps to it: remove it, or give another a --name", c.stack(), c.Mode)
	}
	c.Mode = cmp.Or(c.Mode, o.Mode, RqliteDNS)
	c.Image = cmp.Or(o.Image, c.Mode.Image())
	c.Consul = cmp.Or(o.Consul, c.Consul)
	members, err := manager.Members(ctx)
	if err != nil {
		return c, err
	}
	able := 0
	for _, n := range members {
		if takesTasks(n) {
			able++
		}
	}
	// A voter whose node was removed is to have another in its place: an even
	// number would be no better than one less.
	if c.Voters > 0 && c.Voters%2 == 0 && c.Voters < able {
		c.Voters++
	}
	c.Voters = cmp.Or(o.Voters, c.Voters, voters(able))
	if c.Voters > able && o.Voters > 0 {
		return c, usage.Errorf("%d voters on %d nodes that take tasks: a voter takes a node", c.Voters, able)
	}
	c.Expect = cmp.Or(c.Expect, c.Voters)
	// Old servers have no vote to leave out. Once there, readers stay: nodes may
	// come again.
	c.Readers = c.Mode != RqliteService && (c.Readers || len(members) > c.Voters)
	return c, nil
}

// existingRqlite reads a cluster from its services. Where there is none, only
// the name is set.
func (x Executor) existingRqlite(ctx context.Context, manager *swarm.Engine, name string) (RqliteCluster, error) {
	c := RqliteCluster{Name: name}
	found, err := manager.StackServices(ctx, c.stack())
	if err != nil || len(found) == 0 {
		return c, err
	}
	c.Readers = slices.Contains(found, c.reader())
	for _, candidate := range []string{c.service(), c.voter(1)} {
		s, err := manager.Service(ctx, candidate)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return c, err
		}
		if s.Spec.Labels[swarm.LabelStack] != c.stack() {
			continue
		}
		if err := c.read(s); err != nil {
			return c, err
		}
	}
	if c.Mode == RqliteBootstrap {
		for n := 1; slices.Contains(found, c.voter(n)); n++ {
			c.Voters = n
		}
		return c, nil
	}
	members, err := manager.Members(ctx)
	for _, n := range members {
		if n.Spec.Labels[c.label()] == "true" {
			c.Voters++
		}
	}
	return c, err
}

// read takes over what the servers' variables and arguments keep.
func (c *RqliteCluster) read(s api.Service) error {
	container := s.Spec.TaskTemplate.ContainerSpec
	c.Mode = RqliteDNS // as it was before there were others
	for _, v := range container.Env {
		key, value, _ := strings.Cut(v, "=")
		switch key {
		case expectVariable:
			if _, err := fmt.Sscan(value, &c.Expect); err != nil {
				return fmt.Errorf("service %s expects %q servers: %w", s.Spec.Name, value, err)
			}
		case modeVariable:
			c.Mode = RqliteMode(value)
		case keyVariable:
			c.Key = value
		}
	}
	i := slices.Index(container.Command, "-disco-config")
	if c.Mode != RqliteConsul || i < 0 || i+1 == len(container.Command) {
		return nil
	}
	var config map[string]string
	if err := json.Unmarshal([]byte(container.Command[i+1]), &config); err != nil {
		return fmt.Errorf("service %s has no address of a Consul: %w", s.Spec.Name, err)
	}
	if address := config["scheme"] + "://" + config["address"]; address != "http://"+consulConfig("")["address"] {
		c.Consul = address
	}
	return nil
}

// rqliteKey sees to the service that keeps the cluster's key, and to the key. A
// key is the cluster's alone and of this life: a new one must not look for the
// leader of one that is gone.
func (x Executor) rqliteKey(ctx context.Context, manager *swarm.Engine, c *RqliteCluster) error {
	var keeper Stack
	switch {
	case c.Mode == RqliteEtcd:
		members, err := manager.StackServices(ctx, etcdName)
		if err != nil {
			return err
		}
		if len(members) == 0 {
			if keeper, err = x.Etcd(ctx, EtcdImage); err != nil {
				return err
			}
		}
	case c.Mode == RqliteConsul && c.Consul == "":
		keeper = Consul(ConsulImage)
	case c.Mode == RqliteService:
		keeper = Discovery()
	}
	if keeper.Name != "" {
		existing, err := manager.StackServices(ctx, keeper.Name)
		if err != nil {
			return err
		}
		if len(existing) == 0 {
			if err := x.Deploy(ctx, keeper); err != nil {
				return err
			}
		}
	}
	switch {
	case c.Key != "":
		return nil
	case c.Mode == RqliteService:
		id, err := x.discoveryID(ctx, manager)
		c.Key = id
		return err
	case c.Mode == RqliteEtcd || c.Mode == RqliteConsul:
		return x.keptKey(ctx, manager, c)
	}
	return nil
}

// keptKey takes the key that the nodes' labels keep while there is data of the
// cluster, though its services are gone: beside servers that know each other
// from before, one that is empty would find no leader under another key, and
// begin a cluster of its own. Where there is none it makes one.
func (x Executor) keptKey(ctx context.Context, manager *swarm.Engine, c *RqliteCluster) error {
	members, err := manager.Members(ctx)
	if err != nil {
		return err
	}
	for _, n := range members {
		c.Key = cmp.Or(c.Key, n.Spec.Labels[c.keyLabel()])
	}
	c.Key = cmp.Or(c.Key, c.service()+"-"+strings.ToLower(rand.Text()[:8]))
	for _, n := range members {
		if err := manager.Label(ctx, n.ID, map[string]string{c.keyLabel(): c.Key}); err != nil {
			return err
		}
	}
	return nil
}

// discoveryID makes an id on the environment's discovery service.
func (x Executor) discoveryID(ctx context.Context, manager *swarm.Engine) (string, error) {
	tasks, err := manager.Running(ctx, discoveryName)
	if err != nil {
		return "", err
	}
	var errs []error
	for _, t := range tasks {
		response, err := x.request(ctx, t, DiscoveryPort, http.MethodPost, "/", nil)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var made struct {
			ID string `json:"disco_id"`
		}
		err = json.NewDecoder(response.Body).Decode(&made)
		_ = response.Body.Close()
		if err == nil && made.ID != "" {
			return made.ID, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", response.Status, err))
	}
	return "", fmt.Errorf("make an id on service %s: %w", discoveryName, errors.Join(append(errs, errors.New("no task gave one"))...))
}

// Etcd is the stack for this environment: three members, or one where there are
// fewer nodes. What runs already is left as it is.
func (x Executor) Etcd(ctx context.Context, image string) (Stack, error) {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return Stack{}, err
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return Stack{}, err
	}
	existing, err := manager.StackServices(ctx, etcdName)
	if err != nil {
		return Stack{}, err
	}
	able := 0
	for _, n := range members {
		if takesTasks(n) {
			able++
		}
	}
	switch {
	case len(existing) > 0:
		return Etcd(image, max(len(existing), 1)), nil
	case able >= etcdMembers:
		return Etcd(image, etcdMembers), nil
	}
	return Etcd(image, 1), nil
}

// voters is the best number of servers for a quorum: 1, 3 or 5.
func voters(nodes int) int {
	switch {
	case nodes >= 5:
		return 5
	case nodes >= 3:
		return 3
	}
	return 1
}

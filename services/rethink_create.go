package services

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"skep/services/rethink"
	"skep/swarm"
	"skep/usage"

	api "github.com/docker/docker/api/types/swarm"
)

// mostJoiners is more than any node has use for.
const mostJoiners = 16

// RethinkOptions are what `rethink create` asks for.
type RethinkOptions struct {
	Image    string // "" for what it has, RethinkImage for a new one
	Joiners  int    // 0 for as many as there are, one at least
	CacheMB  int    // 0 for what it has, a share of the node's memory for a new one
	Password string // "" for the one that the cluster has, or a new one
	TLS      *bool  // nil for what it has; a new one speaks it where a node is not local
	Rotate   bool   // make new certificates
}

// Check refuses what cannot be, before anything is touched.
func (o RethinkOptions) Check() error {
	switch {
	case o.Joiners < 0:
		return usage.Errorf("the number of joiners cannot be negative")
	case o.Joiners > mostJoiners:
		return usage.Errorf("%d joiners are %[1]d servers on each node: %d is the most", o.Joiners, mostJoiners)
	case o.CacheMB < 0:
		return usage.Errorf("the size of the cache cannot be negative")
	case o.Rotate && o.TLS != nil && !*o.TLS:
		return usage.Errorf("--rotate-certs without TLS has nothing to rotate")
	}
	return nil
}

// Create brings the cluster to what is asked for: run again it puts right what
// is not, and leaves what is. Data files are never touched.
func (d RethinkDB) Create(ctx context.Context, o RethinkOptions) error {
	if err := o.Check(); err != nil {
		return err
	}
	manager, err := d.Env.Manager(ctx)
	if err != nil {
		return err
	}
	unlock, err := d.Env.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	c := creation{RethinkDB: d, manager: manager, options: o}
	if err := c.read(ctx); err != nil {
		return err
	}
	if err := c.takeAway(ctx); err != nil {
		return err
	}
	if err := c.password(ctx); err != nil {
		return err
	}
	layouts, err := c.layouts(ctx)
	if err != nil {
		return err
	}
	if err := c.tellAway(ctx); err != nil {
		return err
	}
	for _, l := range layouts {
		stack := Rethink(l)
		stack.Stays = len(c.existing) > 0
		if _, err := d.put(ctx, manager, stack, d.whole); err != nil {
			return err
		}
	}
	last := layouts[len(layouts)-1]
	return manager.RemoveKept(ctx, RethinkName, []string{last.Password, last.TLS.CA, last.TLS.Cert, last.TLS.Key})
}

// tellAway names the nodes whose servers are waited for in vain until they are
// back.
func (c *creation) tellAway(ctx context.Context) error {
	members, err := c.manager.Members(ctx)
	if err != nil {
		return err
	}
	for _, n := range members {
		if !swarm.Ready(n) && n.Spec.Availability == api.NodeAvailabilityActive {
			c.Log.Warn("it is "+string(n.Status.State)+", and its servers are waited for: `skep nodes start "+c.Name+"` brings it back", "node", n.Description.Hostname)
		}
	}
	return nil
}

// creation is one create under way.
type creation struct {
	RethinkDB
	manager *swarm.Engine
	options RethinkOptions

	existing []api.Service // of the stack, db0 first
	secrets  []string      // of the stack, all versions
	secret   string        // name of the password's
	joiners  int
}

// read finds out what there is.
func (c *creation) read(ctx context.Context) error {
	names, err := c.manager.StackServices(ctx, RethinkName)
	if err != nil {
		return err
	}
	most := 0
	for _, name := range names {
		s, err := c.manager.Service(ctx, name)
		if err != nil {
			return err
		}
		c.existing = append(c.existing, s)
		most = max(most, joinerNumber(name))
	}
	c.joiners = c.options.Joiners
	if c.joiners == 0 {
		c.joiners = max(most, 1)
	}
	c.secrets, err = c.manager.Secrets(ctx, RethinkName)
	return err
}

// joinerNumber is n of dbn.
func joinerNumber(service string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(service, "db"))
	return n
}

// takeAway takes away joiners that are too many, after every table has left
// them. It refuses where a table has its only replica there.
func (c *creation) takeAway(ctx context.Context) error {
	going := map[string]bool{}
	for _, s := range c.existing {
		if joinerNumber(s.Spec.Name) > c.joiners {
			going[s.Spec.Name] = true
		}
	}
	if len(going) == 0 {
		return nil
	}
	for {
		left, err := c.leave(ctx, going)
		if err != nil {
			return err
		}
		if left { // and no table has come since
			break
		}
	}
	for name := range going {
		if err := c.manager.RemoveService(ctx, name); err != nil {
			return err
		}
		c.Log.Info("service " + name + " removed; its data stays")
	}
	c.existing = slices.DeleteFunc(c.existing, func(s api.Service) bool { return going[s.Spec.Name] })
	return nil
}

// leave moves all tables off the services that go. It says whether there was
// nothing to move.
func (c *creation) leave(ctx context.Context, going map[string]bool) (bool, error) {
	v, err := c.look(ctx)
	if err != nil {
		return false, err
	}
	if lacks := v.missing(); lacks != "" {
		return false, fmt.Errorf("servers are taken away only from a cluster that is whole: %s", lacks)
	}
	leaves := map[string]bool{} // by the server's name
	for _, s := range v.cluster.Servers {
		for _, t := range v.tasks {
			if going[t.Service] && hostname(t) == s.Network.Hostname {
				leaves[s.Name] = true
			}
		}
	}
	moves, stuck := rethink.Leave(v.cluster.Tables, func(server string) bool { return leaves[server] })
	if len(stuck) > 0 {
		return false, fmt.Errorf("-n %d would take away the only replica of %s: `skep rethink ha --apply %s` makes more",
			c.joiners, strings.Join(stuck, ", "), c.Name)
	}
	return len(moves) == 0, c.place(ctx, v, moves)
}

// place moves replicas.
func (d RethinkDB) place(ctx context.Context, v rethinkView, moves []rethink.Move) error {
	if len(moves) == 0 {
		return nil
	}
	manager, err := d.Env.Manager(ctx)
	if err != nil {
		return err
	}
	session, err := d.session(ctx, manager, v.tasks, 1)
	if err != nil {
		return err
	}
	defer session.Close()
	return session.Apply(ctx, moves, func(m rethink.Move) { d.Log.Info("replicas of " + m.Table + " placed") })
}

// password sees to it that there is one, and that it is the one asked for.
func (c *creation) password(ctx context.Context) error {
	c.secret = latest(c.secrets, rethinkPassword)
	wanted := c.options.Password
	kept, err := c.readPassword()
	if err != nil {
		return err
	}
	if c.secret == "" {
		// One that is kept here may be that of data that is still there.
		return c.remember(ctx, rethinkPassword, cmp.Or(wanted, kept, newPassword()))
	}
	if wanted == "" || len(c.existing) == 0 && wanted == kept {
		return nil
	}
	if len(c.existing) == 0 {
		return fmt.Errorf("the secret %s, of data that may still be there, has another password: create the cluster without --password-file first", c.secret)
	}
	v, err := c.tasks(ctx, c.manager)
	if err != nil {
		return err
	}
	session, err := c.session(ctx, c.manager, v.tasks, 1)
	if err != nil {
		return fmt.Errorf("a password is changed in the running cluster: %w", err)
	}
	defer session.Close()
	if kept, err = c.readPassword(); err != nil || kept == wanted {
		return err // the session has shown that it is right
	}
	// Written down first: a password that nobody knows would lock all out.
	before := c.secret
	if err := c.remember(ctx, next(c.secrets, rethinkPassword), wanted); err != nil {
		return err
	}
	if err := session.SetPassword(ctx, wanted); err != nil {
		return errors.Join(err, c.recall(ctx, before, kept))
	}
	c.Log.Info("the admin password was changed")
	return nil
}

// remember keeps the password here and in the swarm.
func (c *creation) remember(ctx context.Context, secret, password string) error {
	c.secret = secret
	return errors.Join(c.writePassword(password), c.keepSecret(ctx, secret, []byte(password)))
}

// recall undoes remember, even after Ctrl-C.
func (c *creation) recall(ctx context.Context, secret, password string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTimeout)
	defer cancel()
	err := c.writePassword(password)
	if removed := c.manager.SecretRemove(ctx, c.secret); removed != nil {
		err = errors.Join(err, fmt.Errorf("remove secret %s: %w", c.secret, removed))
	}
	c.secret = secret
	return err
}

// layouts are what the cluster is to be, one after the other: several where
// certificates change, so that servers with old and new ones trust each other
// at every moment.
func (c *creation) layouts(ctx context.Context) ([]RethinkLayout, error) {
	l := RethinkLayout{Image: c.options.Image, Joiners: c.joiners, CacheMB: c.options.CacheMB, Password: c.secret}
	var has RethinkTLS
	if len(c.existing) > 0 {
		now := c.existing[0].Spec.TaskTemplate.ContainerSpec
		has = rethinkTLS(c.existing[0])
		l.Image = cmp.Or(l.Image, now.Image)
		l.CacheMB = cmp.Or(l.CacheMB, cacheOf(now.Env))
	}
	l.Image = cmp.Or(l.Image, RethinkImage)
	wants, err := c.wantsTLS(ctx, has)
	if err != nil || !wants {
		return []RethinkLayout{l}, err
	}
	l.TLS = has
	if has.CA != "" && !c.options.Rotate {
		return []RethinkLayout{l}, nil
	}
	fresh, err := newCertificates("RethinkDB of "+c.Name, rethinkNames(), time.Now())
	if err != nil {
		return nil, err
	}
	configs, err := c.manager.Configs(ctx, RethinkName)
	if err != nil {
		return nil, err
	}
	l.TLS = RethinkTLS{CA: next(configs, rethinkCA), Cert: next(c.secrets, rethinkCert), Key: next(c.secrets, rethinkKey)}
	err = errors.Join(
		c.keepSecret(ctx, l.TLS.Cert, fresh.cert),
		c.keepSecret(ctx, l.TLS.Key, fresh.key),
	)
	if err != nil {
		return nil, err
	}
	if has.CA == "" {
		return []RethinkLayout{l}, c.keepConfig(ctx, l.TLS.CA, fresh.authority)
	}
	old, err := c.manager.Config(ctx, has.CA)
	if err != nil {
		return nil, err
	}
	both := l
	both.TLS = RethinkTLS{CA: l.TLS.CA, Cert: has.Cert, Key: has.Key}
	swapped := l
	l.TLS.CA = next([]string{both.TLS.CA}, rethinkCA)
	err = errors.Join(
		c.keepConfig(ctx, both.TLS.CA, bundle(old, fresh.authority)),
		c.keepConfig(ctx, l.TLS.CA, fresh.authority),
	)
	return []RethinkLayout{both, swapped, l}, err
}

func (c *creation) keepSecret(ctx context.Context, name string, content []byte) error {
	_, err := c.manager.KeepSecret(ctx, name, content, map[string]string{swarm.LabelStack: RethinkName})
	return err
}

func (c *creation) keepConfig(ctx context.Context, name string, content []byte) error {
	_, err := c.manager.KeepConfig(ctx, name, content, map[string]string{swarm.LabelStack: RethinkName})
	return err
}

// cacheOf reads the size of the cache that was asked for, 0 for none.
func cacheOf(env []string) int {
	for _, v := range env {
		if text, is := strings.CutPrefix(v, cacheVariable+"="); is {
			n, _ := strconv.Atoi(text)
			return n
		}
	}
	return 0
}

// rethinkNames are what servers are called on their network.
func rethinkNames() []string { return []string{"db0", "db1", "tasks.db0", "tasks.db1", "rethinkdb"} }

// wantsTLS decides it for a new cluster; one that runs keeps what it has, as
// servers that speak it and servers that do not would be two clusters.
func (c *creation) wantsTLS(ctx context.Context, has RethinkTLS) (bool, error) {
	if len(c.existing) > 0 {
		if c.options.TLS != nil && *c.options.TLS != (has.CA != "") {
			return false, fmt.Errorf("a cluster that runs keeps its way to speak: `skep rethink rm %s` leaves the data, and create begins the other way", c.Name)
		}
		if c.options.Rotate && has.CA == "" {
			return false, errors.New("the cluster does not speak TLS: there is nothing to rotate")
		}
		return has.CA != "", nil
	}
	if c.options.TLS != nil {
		return *c.options.TLS, nil
	}
	members, err := c.manager.Members(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(members, func(n api.Node) bool { return n.Spec.Labels[swarm.LabelDriver] != swarm.LocalDriver }), nil
}

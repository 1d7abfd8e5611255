package services

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"skep/services/rethink"
	"skep/swarm"

	"github.com/docker/docker/api/types/container"
	api "github.com/docker/docker/api/types/swarm"
)

const (
	lookEvery = 150 * time.Millisecond
	// straggling is how long a server may stay apart before create restarts it.
	// Left alone it would do so itself, rather later.
	straggling  = 25 * time.Second
	stopSeconds = 10
)

// rethinkView is what swarm and database say of each other.
type rethinkView struct {
	tasks   []swarm.Task
	absent  []place // where a task should run and none does
	regions map[string]string
	cluster rethink.Cluster
	err     error // why the database could not be asked
}

// place is where a server of a service belongs.
type place struct{ service, node string }

// hostname is what a server says of itself: its container's, which begins the
// container's ID.
func hostname(t swarm.Task) string { return t.Container[:min(12, len(t.Container))] }

// look asks one server after another until one sees all; else it keeps what the
// one said that sees most.
func (d RethinkDB) look(ctx context.Context) (rethinkView, error) {
	manager, err := d.Env.Manager(ctx)
	if err != nil {
		return rethinkView{}, err
	}
	v, err := d.tasks(ctx, manager)
	if err != nil {
		return v, err
	}
	v.err = errors.New("no server of RethinkDB runs")
	for _, t := range v.tasks {
		cluster, err := d.ask(ctx, manager, t)
		if err != nil {
			if v.cluster.Servers == nil {
				v.err = fmt.Errorf("%s on %s: %w", t.Service, t.Node, err)
			}
			continue
		}
		if len(cluster.Servers) > len(v.cluster.Servers) {
			v.cluster, v.err = cluster, nil
		}
		if len(v.cluster.Servers) >= len(v.tasks) {
			break
		}
	}
	return v, context.Cause(ctx)
}

func (d RethinkDB) ask(ctx context.Context, manager *swarm.Engine, t swarm.Task) (rethink.Cluster, error) {
	session, err := d.sessionAt(ctx, manager, t, 1)
	if err != nil {
		return rethink.Cluster{}, err
	}
	defer session.Close()
	return session.Cluster(ctx)
}

// tasks finds the stack's tasks, those that should run and do not among them.
func (d RethinkDB) tasks(ctx context.Context, manager *swarm.Engine) (rethinkView, error) {
	v := rethinkView{regions: map[string]string{}}
	members, err := manager.Members(ctx)
	if err != nil {
		return v, err
	}
	for _, n := range members {
		v.regions[n.Description.Hostname] = n.Spec.Labels[swarm.LabelRegion]
	}
	services, err := manager.StackServices(ctx, RethinkName)
	if err != nil {
		return v, err
	}
	for _, service := range services {
		running, err := manager.Running(ctx, service)
		if err != nil {
			return v, err
		}
		v.tasks = append(v.tasks, running...)
		s, err := manager.Service(ctx, service)
		if err != nil {
			return v, err
		}
		v.absent = append(v.absent, absent(s, members, running)...)
	}
	return v, nil
}

// absent are the places of a service that no task runs in.
func absent(s api.Service, members []api.Node, running []swarm.Task) []place {
	if s.Spec.Mode.Replicated != nil {
		if len(running) == 0 {
			return []place{{service: s.Spec.Name}}
		}
		return nil
	}
	var places []place
	for _, n := range members {
		name := n.Description.Hostname
		runs := slices.ContainsFunc(running, func(t swarm.Task) bool { return t.Node == name })
		if n.Spec.Availability == api.NodeAvailabilityActive && !runs {
			places = append(places, place{s.Spec.Name, name})
		}
	}
	return places
}

// stragglers are tasks whose servers are not connected with all others.
func (v rethinkView) stragglers() []swarm.Task {
	var hosts []string
	for _, t := range v.tasks {
		hosts = append(hosts, hostname(t))
	}
	apart := v.cluster.Stragglers(hosts)
	return slices.DeleteFunc(slices.Clone(v.tasks), func(t swarm.Task) bool { return !slices.Contains(apart, hostname(t)) })
}

// missing says in a line what the cluster lacks to be whole, "" for nothing.
func (v rethinkView) missing() string {
	lacks := v.apart()
	for _, i := range v.cluster.Issues {
		lacks = append(lacks, i.Description)
	}
	return strings.Join(lacks, "; ")
}

// pressing is what of it a deployment waits for: not an issue that passes, or
// stays, by itself and keeps no table from working.
func (v rethinkView) pressing() string {
	lacks := v.apart()
	for _, i := range v.cluster.Issues {
		if i.Critical {
			lacks = append(lacks, i.Description)
		}
	}
	return strings.Join(lacks, "; ")
}

// apart are the servers that are not there, or not connected with all others.
func (v rethinkView) apart() []string {
	var lacks []string
	for _, p := range v.absent {
		lacks = append(lacks, strings.TrimSuffix(p.service+" on "+p.node, " on ")+" does not run")
	}
	if v.err != nil {
		lacks = append(lacks, v.err.Error())
	} else {
		for _, t := range v.stragglers() {
			lacks = append(lacks, t.Service+" on "+t.Node+" is not connected with all others")
		}
		if extra := len(v.cluster.Servers) - len(v.tasks); extra > 0 && len(v.stragglers()) == 0 {
			lacks = append(lacks, fmt.Sprintf("%d servers more than tasks", extra))
		}
	}
	return lacks
}

// whole waits until every server that should run sees every other, and the
// database knows of no critical issue. A server that stays apart is restarted.
func (d RethinkDB) whole(ctx context.Context) error {
	apart := map[string]time.Time{} // tasks, by container
	var refused time.Time
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		v, err := d.look(ctx)
		what := ""
		if err != nil {
			what = err.Error()
		} else if what = v.pressing(); what == "" {
			for _, i := range v.cluster.Issues {
				d.Log.Warn(i.Description)
			}
			return nil
		}
		if !errors.Is(v.err, rethink.ErrPassword) {
			refused = time.Time{}
		} else if refused.IsZero() {
			refused = time.Now()
		} else if time.Since(refused) > straggling {
			return fmt.Errorf("%w: its data has one that neither %s nor the secret %s knows", v.err, d.PasswordFile, rethinkPassword)
		}
		late := v.stragglers()
		for id := range apart {
			if !slices.ContainsFunc(late, func(t swarm.Task) bool { return t.Container == id }) {
				delete(apart, id)
			}
		}
		for _, t := range late {
			if apart[t.Container].IsZero() {
				apart[t.Container] = time.Now()
			}
			if time.Since(apart[t.Container]) > straggling {
				delete(apart, t.Container)
				if err := d.restart(ctx, t); err != nil {
					return err
				}
				break // the others may have been waiting for this one
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), what)
		case <-tick.C:
		}
	}
}

// restart ends a task's container; swarm starts another.
func (d RethinkDB) restart(ctx context.Context, t swarm.Task) error {
	d.Log.Info(t.Service+" is not connected with all others: restarting it", "node", t.Node)
	engine, err := d.Env.Engine(ctx, t.Node)
	if err != nil {
		return err
	}
	seconds := stopSeconds
	if err := engine.ContainerStop(ctx, t.Container, container.StopOptions{Timeout: &seconds}); err != nil {
		return fmt.Errorf("restart %s on %s: %w", t.Service, t.Node, err)
	}
	return nil
}

// places are the servers and where their machines are.
func (v rethinkView) places() []rethink.Place {
	var places []rethink.Place
	for _, s := range v.cluster.Servers {
		for _, t := range v.tasks {
			if hostname(t) == s.Network.Hostname {
				places = append(places, rethink.Place{Server: s.Name, Node: t.Node, Region: v.regions[t.Node]})
			}
		}
	}
	slices.SortFunc(places, func(a, b rethink.Place) int { return cmp.Compare(a.Server, b.Server) })
	return places
}

package services

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
)

// shrinkRqlite takes voters out until there are as many as there should be: of
// the cluster first, through its API, then off their nodes, with their copy of
// the data, for a server that came back with it would disturb the others.
func (x Executor) shrinkRqlite(ctx context.Context, manager *swarm.Engine, c RqliteCluster) error {
	ctx, cancel := context.WithTimeout(ctx, deployTimeout)
	defer cancel()
	unlock, err := x.Env.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	members, err := manager.Members(ctx)
	if err != nil {
		return err
	}
	var carry []api.Node
	for _, n := range members {
		if n.Spec.Labels[c.label()] != "" {
			carry = append(carry, n)
		}
	}
	if len(carry) <= c.Voters {
		return nil
	}
	leader, err := x.rqliteLeader(ctx, manager, c)
	if err != nil {
		return err
	}
	slices.SortFunc(carry, func(a, b api.Node) int { return c.goesFirst(a, b, leader) })
	for _, n := range carry[:len(carry)-c.Voters] {
		if err := x.dropVoter(ctx, manager, c, n); err != nil {
			return fmt.Errorf("take %s out of %s: %w", n.Description.Hostname, c.stack(), err)
		}
		x.Log.Info("taken out of "+c.stack(), "node", n.Description.Hostname)
	}
	return nil
}

// goesFirst orders voters by who is missed least: those whose node is away, those
// of the highest number, the leader last. Voters with a name each go from the
// last on.
func (c RqliteCluster) goesFirst(a, b api.Node, leader string) int {
	rank := func(n api.Node) int {
		switch {
		case c.Mode == RqliteBootstrap:
			return 0
		case !takesTasks(n):
			return 0
		case c.id(c.service(), n.Description.Hostname) == leader:
			return 2
		}
		return 1
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)),
		-cmp.Compare(len(a.Spec.Labels[c.label()]), len(b.Spec.Labels[c.label()])),
		-cmp.Compare(a.Spec.Labels[c.label()], b.Spec.Labels[c.label()]),
		-cmp.Compare(a.Description.Hostname, b.Description.Hostname))
}

func (x Executor) dropVoter(ctx context.Context, manager *swarm.Engine, c RqliteCluster, n api.Node) error {
	node, service, volume := n.Description.Hostname, c.service(), c.Mode.volume(c)
	if c.Mode == RqliteBootstrap {
		service = c.voterOf(n)
		volume = service + "data"
	}
	existing, err := manager.StackServices(ctx, c.stack())
	if err != nil {
		return err
	}
	if slices.Contains(existing, service) {
		if err := x.leaveRqlite(ctx, manager, c, service, node); err != nil {
			return err
		}
	}
	if c.Mode == RqliteBootstrap {
		if err := manager.RemoveService(ctx, service); err != nil {
			return err
		}
	}
	if err := manager.Unlabel(ctx, n.ID, c.label()); err != nil {
		return err
	}
	engines, err := x.Env.Engines(ctx)
	if err != nil {
		return err
	}
	for _, e := range engines {
		if e.Node() == node {
			return e.RemoveVolume(ctx, volume)
		}
	}
	return fmt.Errorf("its node does not answer: its volume %s is still there", volume)
}

// voterOf is the service of the voter on a node.
func (c RqliteCluster) voterOf(n api.Node) string {
	return strings.TrimSuffix(c.voter(0), "0") + n.Spec.Labels[c.label()]
}

// leaveRqlite removes a server from its cluster, asking the others in turn.
func (x Executor) leaveRqlite(ctx context.Context, manager *swarm.Engine, c RqliteCluster, service, node string) error {
	tasks, err := x.rqliteTasks(ctx, manager, c)
	if err != nil {
		return err
	}
	what := map[string]string{"id": c.id(service, node)}
	var errs []error
	others := 0
	if c.Mode == RqliteService {
		what = nil
		for _, t := range tasks {
			if t.Node == node {
				what = map[string]string{"addr": fmt.Sprintf("%s:%d", t.Address, rqliteRaftPort)}
			}
		}
	}
	for _, t := range tasks {
		if t.Node == node || what == nil {
			continue
		}
		others++
		err := x.removeMember(ctx, t, what)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	if others == 0 {
		return nil // it was the only one
	}
	return errors.Join(errs...)
}

// rqliteTasks are the running servers, voters before others.
func (x Executor) rqliteTasks(ctx context.Context, manager *swarm.Engine, c RqliteCluster) ([]swarm.Task, error) {
	existing, err := manager.StackServices(ctx, c.stack())
	if err != nil {
		return nil, err
	}
	slices.SortFunc(existing, func(a, b string) int {
		return cmp.Or(cmp.Compare(btoi(a == c.reader()), btoi(b == c.reader())), cmp.Compare(a, b))
	})
	var tasks []swarm.Task
	for _, s := range existing {
		if s == c.dns() {
			continue
		}
		more, err := manager.Running(ctx, s)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, more...)
	}
	return tasks, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rqliteLeader is the id of the leader, "" where nobody knows of one.
func (x Executor) rqliteLeader(ctx context.Context, manager *swarm.Engine, c RqliteCluster) (string, error) {
	tasks, err := x.rqliteTasks(ctx, manager, c)
	for _, t := range tasks {
		if view, err := x.rqliteView(ctx, t); err == nil {
			for id, n := range view {
				if n.Leader {
					return id, nil
				}
			}
		}
	}
	return "", err
}

// removeMember asks a server to take another out, which it passes on to the
// leader.
func (x Executor) removeMember(ctx context.Context, t swarm.Task, what map[string]string) error {
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	response, err := x.request(ctx, t, RqlitePort, http.MethodDelete, "/remove", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s on %s: %s", t.Service, t.Node, response.Status)
	}
	return nil
}

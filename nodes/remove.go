package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"skep/providers"
	"skep/swarm"
	"skep/tunnel"
	"skep/usage"

	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/volume"
)

// drainTimeout is how long tasks may take to end before a node goes without it.
const drainTimeout = time.Minute

// Remove takes single nodes out of the swarm and deletes their machines. It
// refuses what would cost the managers their quorum, and, unless loseData,
// what holds data of a stack. Before a node goes, retire takes out of their
// clusters what the environment runs on it.
func (e *Environment) Remove(ctx context.Context, named []string, loseData bool, retire func(ctx context.Context, node string) error) error {
	unlock, err := e.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := e.whole(ctx)
	if err != nil {
		return err
	}
	going, err := pick(e.Name, all, named)
	if err != nil {
		return err
	}
	manager, err := e.stayingManager(ctx, all, going)
	if err != nil {
		return err
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return err
	}
	members = e.seen(ctx, all, members)
	cheapestFirst(going, members)
	if err := keepsQuorum(members, names(going)); err != nil {
		return err
	}
	if !loseData {
		if err := e.refuseData(ctx, going); err != nil {
			return err
		}
	}
	for _, m := range going {
		if err := retire(ctx, m.Name); err != nil {
			if !loseData {
				return err
			}
			e.Log.Warn("its databases count it as lost from now on", "node", m.Name, "error", err)
		}
		if err := e.removeOne(ctx, manager, m, loseData); err != nil {
			return errors.Join(fmt.Errorf("remove %s: %w", m.Name, err), e.UpdateFirewall(ctx))
		}
		e.Log.Info("removed", "node", m.Name)
	}
	if bill := billing(going); bill > 0 {
		e.Log.Info("no longer billed: " + dollars(bill))
	}
	return e.UpdateFirewall(ctx)
}

// pick finds the named machines.
func pick(env string, all []providers.Machine, names []string) ([]providers.Machine, error) {
	var found []providers.Machine
	for _, name := range names {
		i := slices.IndexFunc(all, func(m providers.Machine) bool { return m.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%s has no node %s", env, name)
		}
		if !contains(found, all[i]) {
			found = append(found, all[i])
		}
	}
	return found, nil
}

// stayingManager is a working manager that is not removed.
func (e *Environment) stayingManager(ctx context.Context, all, going []providers.Machine) (*swarm.Engine, error) {
	staying := slices.DeleteFunc(slices.Clone(all), func(m providers.Machine) bool {
		return m.Role != providers.Manager || contains(going, m)
	})
	if len(staying) == 0 {
		return nil, usage.Errorf("that leaves %s without a manager: `skep nodes rm %s` removes all of it", e.Name, e.Name)
	}
	return e.manager(ctx, staying)
}

// seenWithin is how long a manager may take to answer as one.
const seenWithin = 5 * time.Second

// seen is the members with managers unreachable that do not answer now. The
// swarm itself goes on calling one reachable for seconds after it has died.
func (e *Environment) seen(ctx context.Context, all []providers.Machine, members []api.Node) []api.Node {
	ctx, cancel := context.WithTimeout(ctx, seenWithin)
	defer cancel()
	members = slices.Clone(members)
	var asking sync.WaitGroup
	for i, n := range members {
		if n.ManagerStatus == nil || n.ManagerStatus.Reachability != api.ReachabilityReachable {
			continue
		}
		at := slices.IndexFunc(all, func(m providers.Machine) bool { return m.Name == n.Description.Hostname })
		asking.Go(func() {
			if at >= 0 {
				if _, err := e.asManager(ctx, all[at]); err == nil {
					return
				}
			}
			status := *n.ManagerStatus
			status.Reachability = api.ReachabilityUnreachable
			members[i].ManagerStatus = &status
		})
	}
	asking.Wait()
	return members
}

// cheapestFirst puts machines in the order in which their loss costs the
// managers least: workers, managers that are out of reach already, the others.
func cheapestFirst(going []providers.Machine, members []api.Node) {
	cost := func(m providers.Machine) int {
		n, _ := swarm.Member(members, m.Name)
		switch {
		case n.ManagerStatus == nil:
			return 0
		case n.ManagerStatus.Reachability != api.ReachabilityReachable:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(going, func(a, b providers.Machine) int { return cost(a) - cost(b) })
}

// keepsQuorum goes through the removal of machines in their order: after each
// manager, more than half of those that remain must be reachable.
func keepsQuorum(members []api.Node, names []string) error {
	total, reachable := 0, 0
	for _, n := range members {
		if n.ManagerStatus == nil {
			continue
		}
		total++
		if n.ManagerStatus.Reachability == api.ReachabilityReachable {
			reachable++
		}
	}
	for _, name := range names {
		for _, n := range members {
			if n.ManagerStatus == nil || n.Description.Hostname != name {
				continue
			}
			total--
			if n.ManagerStatus.Reachability == api.ReachabilityReachable {
				reachable--
			}
			if reachable < total/2+1 {
				return fmt.Errorf("refused: without %s only %d of %d managers would be reachable, and a quorum is %d; bring the others back first",
					name, reachable, total, total/2+1)
			}
		}
	}
	return nil
}

// refuseData looks for volumes of stacks on the machines.
func (e *Environment) refuseData(ctx context.Context, going []providers.Machine) error {
	for _, m := range going {
		engine, err := e.engine(ctx, m)
		if err != nil {
			return fmt.Errorf("cannot see whether %s holds data (%w): if it may go all the same, say --yes-lose-data", m.Name, err)
		}
		volumes, err := engine.VolumeList(ctx, volume.ListOptions{})
		if err != nil {
			return fmt.Errorf("look for data on %s: %w", m.Name, err)
		}
		for _, v := range volumes.Volumes {
			stack := v.Labels[swarm.LabelStack]
			if stack == "" {
				continue
			}
			// One that cannot be looked into may have data.
			if empty, err := engine.IsEmpty(ctx, v.Mountpoint); err != nil || !empty {
				return fmt.Errorf("refused: %s holds data of %s (volume %s): if the other nodes have all of it, or it may go, say --yes-lose-data", m.Name, stack, v.Name)
			}
		}
	}
	return nil
}

// removeOne drains a node that works, then takes it out.
func (e *Environment) removeOne(ctx context.Context, manager *swarm.Engine, m providers.Machine, giveUp bool) error {
	members, err := manager.Members(ctx)
	if err != nil {
		return err
	}
	if n, ok := swarm.Member(members, m.Name); ok && swarm.Ready(n) {
		e.drain(ctx, manager, m, n)
	}
	return e.takeOut(ctx, manager, m, giveUp)
}

// takeOut ends a machine's membership and deletes it. A manager is demoted
// before, and stays if that does not go through: deleted as a manager it would
// be counted as lost. A machine that does not answer any more is struck off by
// the other manager alone.
func (e *Environment) takeOut(ctx context.Context, manager *swarm.Engine, m providers.Machine, giveUp bool) error {
	members, err := e.expel(ctx, manager, m)
	if err != nil {
		return err
	}
	released := e.release(ctx, []providers.Machine{m})
	e.drop(m.Name)
	driver := e.driver(m.Driver)
	err = driver.Delete(ctx, []providers.Machine{m})
	if giveUp {
		err = e.giveUp(ctx, driver, err, m.Name)
		released = nil
	}
	if err = errors.Join(err, released); err != nil {
		return err
	}
	return e.struck(ctx, manager, m, members)
}

// expel has a machine leave the swarm, and returns what it was there.
func (e *Environment) expel(ctx context.Context, manager *swarm.Engine, m providers.Machine) ([]api.Node, error) {
	members, err := manager.Members(ctx)
	if err != nil {
		return nil, err
	}
	members = slices.DeleteFunc(members, func(n api.Node) bool { return n.Description.Hostname != m.Name })
	for _, n := range members {
		if votes(n) {
			if err := manager.Demote(ctx, n.ID); err != nil {
				return nil, err
			}
		}
	}
	if slices.ContainsFunc(members, swarm.Ready) {
		e.leave(ctx, m)
	}
	return members, nil
}

// struck strikes a machine that is gone from the swarm's list and forgets its key.
func (e *Environment) struck(ctx context.Context, manager *swarm.Engine, m providers.Machine, members []api.Node) error {
	for _, n := range members {
		if err := manager.Remove(ctx, n.ID); err != nil {
			return err
		}
	}
	return tunnel.Unpin(e.Home.KnownHosts(e.Name), m.Name)
}

// votes says whether the member is one of the managers' quorum, or is to be. One
// whose demotion was ordered and has not gone through is one still.
func votes(n api.Node) bool { return n.Spec.Role == api.NodeRoleManager || n.ManagerStatus != nil }

// strike removes a member that its machine has given up.
func strike(ctx context.Context, manager *swarm.Engine, n api.Node) error {
	if votes(n) {
		if err := manager.Demote(ctx, n.ID); err != nil {
			return err
		}
	}
	return manager.Remove(ctx, n.ID)
}

// drain moves tasks away; a node that does not get done goes all the same.
func (e *Environment) drain(ctx context.Context, manager *swarm.Engine, m providers.Machine, n api.Node) {
	e.Log.Info("draining", "node", m.Name)
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := manager.Drain(ctx, n.ID); err != nil {
		e.Log.Warn("not drained", "node", m.Name, "error", err)
	}
}

func (e *Environment) leave(ctx context.Context, m providers.Machine) {
	engine, err := e.engine(ctx, m)
	if err == nil {
		err = engine.Leave(ctx)
	}
	if err != nil {
		e.Log.Warn("it did not leave the swarm by itself", "node", m.Name, "error", err)
	}
}

// drop ends the connection to a node.
func (e *Environment) drop(node string) {
	e.mu.Lock()
	engine := e.engines[node]
	delete(e.engines, node)
	e.mu.Unlock()
	if engine != nil {
		_ = engine.Close()
	}
}

package swarm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
)

const (
	swarmPort = "2377"
	pollEvery = 50 * time.Millisecond

	joinTimeout   = time.Minute // the engine itself waits for 20 s
	demoteTimeout = time.Minute
)

// State is what an engine says of its own place in a swarm.
type State struct {
	ID      string   // of the node in its swarm
	Member  bool     // it belongs to some swarm, whether it works or not
	Manager bool     // it answers as a manager, with quorum
	Pending bool     // it is on its way into one
	Remotes []string // ids of the managers that it knows
	Problem string
}

// State asks the engine.
func (e *Engine) State(ctx context.Context) (State, error) {
	info, err := e.Info(ctx)
	if err != nil {
		return State{}, fmt.Errorf("ask %s about its swarm: %w", e.Node(), err)
	}
	return state(info), nil
}

func state(info system.Info) State {
	s := info.Swarm
	var remotes []string
	for _, peer := range s.RemoteManagers {
		remotes = append(remotes, peer.NodeID)
	}
	return State{
		ID:      s.NodeID,
		Member:  s.LocalNodeState != api.LocalNodeStateInactive && s.LocalNodeState != "",
		Manager: s.ControlAvailable && s.LocalNodeState == api.LocalNodeStateActive && s.Error == "",
		Pending: s.LocalNodeState == api.LocalNodeStatePending,
		Remotes: remotes,
		Problem: s.Error,
	}
}

// Init makes the engine the first manager of a new swarm.
func (e *Engine) Init(ctx context.Context, advertise string) error {
	_, err := e.SwarmInit(ctx, api.InitRequest{ListenAddr: "0.0.0.0:" + swarmPort, AdvertiseAddr: advertise})
	if err != nil {
		return fmt.Errorf("make a swarm on %s: %s", e.Node(), brief(err))
	}
	return nil
}

// Join makes the engine a member of the swarm whose manager is at the address.
// Once begun it is seen to its end, whatever the context says meanwhile: the
// engine would go on by itself, and a manager that joins after somebody took it
// for absent and deleted it costs the others their quorum. One that is slow is
// still at it when Join returns.
func (e *Engine) Join(ctx context.Context, advertise, manager, token string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), joinTimeout)
	defer cancel()
	err := e.SwarmJoin(ctx, api.JoinRequest{
		ListenAddr: "0.0.0.0:" + swarmPort, AdvertiseAddr: advertise,
		RemoteAddrs: []string{net.JoinHostPort(manager, swarmPort)}, JoinToken: token,
	})
	if err != nil && strings.Contains(err.Error(), "Timeout was reached before node joined") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("join %s to the swarm at %s: %s", e.Node(), manager, brief(err))
	}
	return nil
}

// Leave gives the membership up; an engine that has none is left as it is.
func (e *Engine) Leave(ctx context.Context) error {
	err := e.SwarmLeave(ctx, true)
	if err != nil && !strings.Contains(err.Error(), "not part of a swarm") {
		return fmt.Errorf("%s leaves its swarm: %s", e.Node(), brief(err))
	}
	return nil
}

// Tokens are the secrets that joining takes, by role.
func (e *Engine) Tokens(ctx context.Context) (api.JoinTokens, error) {
	s, err := e.SwarmInspect(ctx)
	if err != nil {
		return api.JoinTokens{}, fmt.Errorf("read the join tokens on %s: %s", e.Node(), brief(err))
	}
	return s.JoinTokens, nil
}

// Members lists the nodes of the swarm as a manager sees them.
func (e *Engine) Members(ctx context.Context) ([]api.Node, error) {
	nodes, err := e.NodeList(ctx, api.NodeListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the swarm's nodes on %s: %s", e.Node(), brief(err))
	}
	return nodes, nil
}

// Member picks a host's entry. A host that left and joined again has an old
// one that is down: the one that is ready wins, then the newest.
func Member(nodes []api.Node, hostname string) (api.Node, bool) {
	var best api.Node
	found := false
	for _, n := range nodes {
		if n.Description.Hostname != hostname {
			continue
		}
		better := Ready(n) && !Ready(best) || Ready(n) == Ready(best) && n.CreatedAt.After(best.CreatedAt)
		if !found || better {
			best, found = n, true
		}
	}
	return best, found
}

// Address is where the others reach a member. A manager may say nothing of
// itself but as a manager.
func Address(n api.Node) string {
	if n.ManagerStatus != nil {
		if host, _, err := net.SplitHostPort(n.ManagerStatus.Addr); err == nil {
			return host
		}
	}
	return n.Status.Addr
}

// Ready says whether the node takes tasks' orders.
func Ready(n api.Node) bool { return n.Status.State == api.NodeStateReady }

// WaitReady returns once all hosts are Ready, seen from this manager, and those
// that are to be managers are reachable as such.
func (e *Engine) WaitReady(ctx context.Context, hosts, managers []string) error {
	missing := func() (string, error) {
		nodes, err := e.Members(ctx)
		if err != nil {
			return "", err
		}
		for _, h := range hosts {
			n, ok := Member(nodes, h)
			if !ok || !Ready(n) {
				return h + " is not ready", nil
			}
			if slices.Contains(managers, h) && (n.ManagerStatus == nil || n.ManagerStatus.Reachability != api.ReachabilityReachable) {
				return h + " is not reachable as a manager", nil
			}
		}
		return "", nil
	}
	return poll(ctx, missing)
}

// Settled returns the engine's state once it is not on its way into a swarm.
func (e *Engine) Settled(ctx context.Context) (State, error) {
	var s State
	err := poll(ctx, func() (string, error) {
		var err error
		s, err = e.State(ctx)
		if err == nil && s.Pending {
			return e.Node() + " is still joining", nil
		}
		return "", err
	})
	return s, err
}

// WaitManager returns once the engine answers as a manager, with quorum.
func (e *Engine) WaitManager(ctx context.Context) error {
	return poll(ctx, func() (string, error) {
		s, err := e.State(ctx)
		switch {
		case err != nil || s.Manager:
			return "", err
		case s.Problem != "":
			return e.Node() + ": " + s.Problem, nil
		}
		return e.Node() + " is no working manager yet", nil
	})
}

// poll asks until nothing is missing; when the context ends it returns what
// still was, or the last error.
func poll(ctx context.Context, missing func() (string, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		what, err := missing()
		if err == nil && what == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			if what != "" {
				err = errors.New(what)
			}
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// Label sets labels on a member and leaves its others.
func (e *Engine) Label(ctx context.Context, id string, labels map[string]string) error {
	return e.changeMember(ctx, id, func(spec *api.NodeSpec) bool {
		changed := false
		for k, v := range labels {
			if spec.Labels[k] != v {
				if spec.Labels == nil {
					spec.Labels = map[string]string{}
				}
				spec.Labels[k], changed = v, true
			}
		}
		return changed
	})
}

// Demote makes a manager a worker and returns once it has left the managers'
// quorum, which is not before a while after the order. It is asked of another
// manager.
func (e *Engine) Demote(ctx context.Context, id string) error {
	err := e.changeMember(ctx, id, func(spec *api.NodeSpec) bool {
		changed := spec.Role != api.NodeRoleWorker
		spec.Role = api.NodeRoleWorker
		return changed
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, demoteTimeout, errors.New("not within "+demoteTimeout.String()))
	defer cancel()
	err = poll(ctx, func() (string, error) {
		n, _, err := e.NodeInspectWithRaw(ctx, id)
		if err == nil && n.ManagerStatus != nil {
			return n.Description.Hostname + " is still a manager", nil
		}
		return "", err
	})
	if err != nil {
		return fmt.Errorf("demote a manager: %w", err)
	}
	return nil
}

// changeMember writes a member's spec; another writer in between means again.
func (e *Engine) changeMember(ctx context.Context, id string, change func(*api.NodeSpec) bool) error {
	for ctx.Err() == nil {
		n, _, err := e.NodeInspectWithRaw(ctx, id)
		if err != nil {
			return fmt.Errorf("look at swarm node %s: %s", id, brief(err))
		}
		if !change(&n.Spec) {
			return nil
		}
		err = e.NodeUpdate(ctx, id, n.Version, n.Spec)
		if err == nil {
			return nil
		}
		if !strings.Contains(err.Error(), "update out of sequence") {
			return fmt.Errorf("change swarm node %s: %s", n.Description.Hostname, brief(err))
		}
	}
	return context.Cause(ctx)
}

// Drain moves a member's tasks away and returns once none of them runs.
func (e *Engine) Drain(ctx context.Context, id string) error {
	err := e.changeMember(ctx, id, func(spec *api.NodeSpec) bool {
		changed := spec.Availability != api.NodeAvailabilityDrain
		spec.Availability = api.NodeAvailabilityDrain
		return changed
	})
	if err != nil {
		return err
	}
	return poll(ctx, func() (string, error) {
		tasks, err := e.TaskList(ctx, api.TaskListOptions{Filters: filter("node", id)})
		if err != nil {
			return "", err
		}
		for _, t := range tasks {
			if t.Status.State == api.TaskStateRunning {
				return "a task still runs", nil
			}
		}
		return "", nil
	})
}

// Remove strikes a member from the swarm's list, whatever state it is in. A
// manager has to be demoted before.
func (e *Engine) Remove(ctx context.Context, id string) error {
	err := e.NodeRemove(ctx, id, api.NodeRemoveOptions{Force: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove swarm node %s: %s", id, brief(err))
	}
	return nil
}

package services

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"skep/swarm"
)

// member is what a server says of one of its cluster.
type member struct {
	Voter     bool `json:"voter"`
	Reachable bool `json:"reachable"`
	Leader    bool `json:"leader"`
}

// rqliteView is a server's own view of its cluster, by id.
func (x Executor) rqliteView(ctx context.Context, t swarm.Task) (map[string]member, error) {
	response, err := x.request(ctx, t, RqlitePort, http.MethodGet, "/nodes?nonvoters&timeout=1s", nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s on %s does not tell its nodes: %s", t.Service, t.Node, response.Status)
	}
	var view map[string]member
	if err := json.NewDecoder(response.Body).Decode(&view); err != nil {
		return nil, fmt.Errorf("%s on %s does not tell its nodes: %w", t.Service, t.Node, err)
	}
	return view, nil
}

// RqliteStatus asks every server itself: whether it serves, and who it is in the
// cluster that it sees.
func (x Executor) RqliteStatus(ctx context.Context, env, name string) (Status, error) {
	c := RqliteCluster{Name: name}
	status := Status{Env: env, Stack: c.stack(), Servers: []Server{}}
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return status, err
	}
	if c, err = x.existingRqlite(ctx, manager, name); err != nil {
		return status, err
	}
	tasks, err := x.rqliteTasks(ctx, manager, c)
	if err != nil {
		return status, err
	}
	existing, err := manager.StackServices(ctx, c.stack())
	if err != nil {
		return status, err
	}
	wanted := 0
	for _, s := range existing {
		if s != c.dns() {
			n, err := manager.Wanted(ctx, s)
			if err != nil {
				return status, err
			}
			wanted += n
		}
	}
	status.Ready = len(existing) > 0 && wanted > 0 && len(tasks) >= wanted
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, t := range tasks {
		wait.Go(func() {
			role, err := x.rqliteRole(ctx, c, t)
			mu.Lock()
			defer mu.Unlock()
			status.Servers = append(status.Servers, Server{Name: t.Service + "@" + t.Node, Node: t.Node, Address: t.Address, Role: role, Ready: err == nil})
			status.Ready = status.Ready && err == nil
		})
	}
	wait.Wait()
	slices.SortFunc(status.Servers, func(a, b Server) int { return cmp.Compare(a.Name, b.Name) })
	return status, nil
}

// rqliteRole is what the server is in the cluster as it sees it: leader, voter
// or reader. One that serves and is not of its own cluster is not ready.
func (x Executor) rqliteRole(ctx context.Context, c RqliteCluster, t swarm.Task) (string, error) {
	if c.Mode == RqliteService {
		return x.rqlite4Role(ctx, t)
	}
	if err := x.askTask(ctx, t, Probe{Port: RqlitePort, Path: c.Mode.alive()}); err != nil {
		return "", err
	}
	view, err := x.rqliteView(ctx, t)
	if err != nil {
		return "", err
	}
	self, ok := view[c.id(t.Service, t.Node)]
	switch {
	case !ok:
		return "", fmt.Errorf("%s on %s is not of its own cluster", t.Service, t.Node)
	case self.Leader:
		return "leader", nil
	case self.Voter:
		return "voter", nil
	}
	return "reader", nil
}

// rqlite4Role is the same of an old server, which knows addresses.
func (x Executor) rqlite4Role(ctx context.Context, t swarm.Task) (string, error) {
	response, err := x.request(ctx, t, RqlitePort, http.MethodGet, "/status", nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var told struct {
		Store struct {
			Leader string            `json:"leader"`
			Raft   map[string]string `json:"raft"`
		} `json:"store"`
	}
	if err := json.NewDecoder(response.Body).Decode(&told); err != nil {
		return "", fmt.Errorf("%s on %s does not tell its status: %w", t.Service, t.Node, err)
	}
	switch {
	case told.Store.Leader == "":
		return "", fmt.Errorf("%s on %s knows no leader", t.Service, t.Node)
	case told.Store.Raft["state"] == "Leader":
		return "leader", nil
	}
	return "voter", nil
}

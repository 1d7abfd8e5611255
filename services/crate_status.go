package services

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"skep/swarm"
	"skep/usage"

	"github.com/containerd/errdefs"
)

// crateMasters is how many nodes begin a cluster: of three one may be lost.
const crateMasters = 3

// Crate is the stack for this environment. Which nodes began the cluster stays
// as it was; how many there are is as it is now.
func (x Executor) Crate(ctx context.Context, image string) (Stack, error) {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return Stack{}, err
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return Stack{}, err
	}
	var names []string
	for _, n := range members {
		if takesTasks(n) {
			names = append(names, n.Description.Hostname)
		}
	}
	if len(names) == 0 {
		return Stack{}, usage.Errorf("no node takes tasks")
	}
	slices.Sort(names)
	masters := names[:min(len(names), crateMasters)]
	s, err := manager.Service(ctx, crateName)
	if err != nil && !errdefs.IsNotFound(err) {
		return Stack{}, err
	}
	if err == nil && s.Spec.TaskTemplate.ContainerSpec != nil {
		for _, v := range s.Spec.TaskTemplate.ContainerSpec.Env {
			if kept, ok := strings.CutPrefix(v, mastersVariable+"="); ok {
				masters = strings.Split(kept, ",")
			}
		}
	}
	return Crate(image, masters, len(names)), nil
}

// CrateStatus asks every server which nodes it sees, and one for the health of
// the tables.
func (x Executor) CrateStatus(ctx context.Context, env string) (Status, error) {
	status := Status{Env: env, Stack: crateName, Servers: []Server{}}
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return status, err
	}
	wanted, err := manager.Wanted(ctx, crateName)
	if err != nil || wanted == 0 {
		return status, err
	}
	tasks, err := manager.Running(ctx, crateName)
	if err != nil {
		return status, err
	}
	status.Ready = len(tasks) >= wanted
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, t := range tasks {
		wait.Go(func() {
			health, err := x.crateServer(ctx, t, wanted)
			mu.Lock()
			defer mu.Unlock()
			status.Servers = append(status.Servers, Server{Name: crateName + "@" + t.Node, Node: t.Node, Address: t.Address, Ready: err == nil})
			status.Ready = status.Ready && err == nil && health != "RED"
			status.Health = cmp.Or(status.Health, health)
		})
	}
	wait.Wait()
	slices.SortFunc(status.Servers, func(a, b Server) int { return cmp.Compare(a.Name, b.Name) })
	return status, nil
}

// crateServer is whether a server sees the whole cluster, and the worst health
// of any table.
func (x Executor) crateServer(ctx context.Context, t swarm.Task, nodes int) (string, error) {
	names, err := x.crateSQL(ctx, t, "SELECT name FROM sys.nodes")
	if err != nil {
		return "", err
	}
	if !slices.Contains(names, t.Node) || len(names) < nodes {
		return "", fmt.Errorf("%s on %s sees the nodes %v, of %d", t.Service, t.Node, names, nodes)
	}
	all, err := x.crateSQL(ctx, t, "SELECT health FROM sys.health")
	for _, health := range []string{"RED", "YELLOW"} {
		if slices.Contains(all, health) {
			return health, err
		}
	}
	return "GREEN", err
}

// crateSQL asks for one column of text.
func (x Executor) crateSQL(ctx context.Context, t swarm.Task, statement string) ([]string, error) {
	body, err := json.Marshal(map[string]string{"stmt": statement})
	if err != nil {
		return nil, err
	}
	response, err := x.request(ctx, t, CratePort, http.MethodPost, "/_sql", strings.NewReader(string(body)))
	if err != nil {
		return nil, fmt.Errorf("%s on %s does not answer: %w", t.Service, t.Node, err)
	}
	defer func() { _ = response.Body.Close() }()
	var told struct {
		Rows  [][]string
		Error struct{ Message string }
	}
	if err := json.NewDecoder(response.Body).Decode(&told); err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s on %s: %s: %s %w", t.Service, t.Node, statement, cmp.Or(told.Error.Message, response.Status), err)
	}
	var column []string
	for _, row := range told.Rows {
		column = append(column, row...)
	}
	return column, nil
}

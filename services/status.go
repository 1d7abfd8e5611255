package services

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// Status is what `… status` prints of a stack.
type Status struct {
	Env     string   `json:"env"`
	Stack   string   `json:"stack"`
	Servers []Server `json:"servers"`
	Health  string   `json:"health,omitempty"` // of its tables, where it tells
	Ready   bool     `json:"ready"`            // every task that should run does, and serves
}

// Server is one task of a database.
type Server struct {
	Name    string `json:"name"`
	Node    string `json:"node"`
	Address string `json:"address"` // on its network
	Role    string `json:"role,omitempty"`
	Ready   bool   `json:"ready"`
}

// Status asks every running task of the stack's services whether it serves.
func (x Executor) Status(ctx context.Context, env, stack string, port int, path string) (Status, error) {
	status := Status{Env: env, Stack: stack, Servers: []Server{}}
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return status, err
	}
	services, err := manager.StackServices(ctx, stack)
	if err != nil {
		return status, err
	}
	status.Ready = len(services) > 0
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, service := range services {
		p := Probe{Service: service, Port: port, Path: path}
		wanted, err := manager.Wanted(ctx, p.Service)
		if err != nil {
			return status, err
		}
		tasks, err := manager.Running(ctx, p.Service)
		if err != nil {
			return status, err
		}
		if wanted == 0 || len(tasks) < wanted {
			status.Ready = false
		}
		for _, t := range tasks {
			wait.Go(func() {
				err := x.askTask(ctx, t, p)
				mu.Lock()
				defer mu.Unlock()
				status.Servers = append(status.Servers, Server{Name: t.Service + "@" + t.Node, Node: t.Node, Address: t.Address, Ready: err == nil})
				status.Ready = status.Ready && err == nil
			})
		}
	}
	wait.Wait()
	slices.SortFunc(status.Servers, func(a, b Server) int { return cmp.Compare(a.Name, b.Name) })
	return status, nil
}

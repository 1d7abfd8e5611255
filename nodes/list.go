package nodes

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"skep/providers"
	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
)

// Node is a machine and what its swarm says of it: a row of `nodes ls`.
type Node struct {
	Env            string    `json:"env"`
	Name           string    `json:"name"`
	Role           string    `json:"role"`
	Driver         string    `json:"driver"`
	Region         string    `json:"region"`
	Size           string    `json:"size"`
	Address        string    `json:"address"`
	PrivateAddress string    `json:"private_address"`
	Status         string    `json:"status"` // running or stopped
	Swarm          string    `json:"swarm"`  // ready, down, …; none for no member, unknown where no manager answers
	Leader         bool      `json:"leader"`
	Engine         string    `json:"engine"`
	HourlyUSD      float64   `json:"hourly_usd"`
	Created        time.Time `json:"created"`
}

// listTimeout bounds how long a listing waits for an environment's managers.
const listTimeout = 10 * time.Second

// List is the environment's nodes.
func (e *Environment) List(ctx context.Context) ([]Node, error) {
	all, err := e.existing(ctx)
	if err != nil {
		return nil, err
	}
	return e.rows(ctx, all), context.Cause(ctx)
}

// ListAll is the nodes of all environments that the drivers know.
func ListAll(ctx context.Context, drivers map[string]providers.Driver, log *slog.Logger, open func(env string) *Environment) ([]Node, error) {
	all, err := answering(ctx, drivers, "", log)
	if err != nil {
		return nil, err
	}
	var envs []string
	byEnv := map[string][]providers.Machine{}
	for _, m := range all {
		if byEnv[m.Env] == nil {
			envs = append(envs, m.Env)
		}
		byEnv[m.Env] = append(byEnv[m.Env], m)
	}
	rows := make([][]Node, len(envs))
	var wait sync.WaitGroup
	for i, name := range envs {
		wait.Go(func() {
			e := open(name)
			defer e.Close()
			rows[i] = e.rows(ctx, byEnv[name])
		})
	}
	wait.Wait()
	nodes := []Node{} // never nil: it becomes JSON
	for _, r := range rows {
		nodes = append(nodes, r...)
	}
	return nodes, context.Cause(ctx)
}

// rows joins machines with the swarm's members. A swarm that cannot be asked
// leaves its columns unknown; the machines are listed all the same.
func (e *Environment) rows(ctx context.Context, all []providers.Machine) []Node {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var members []api.Node
	manager, err := e.manager(ctx, all)
	if err == nil {
		members, err = manager.Members(ctx)
	}
	if err != nil {
		e.Log.Warn("the swarm cannot be asked", slog.String("env", e.Name), slog.Any("error", err))
	}
	rows := make([]Node, 0, len(all))
	for _, m := range all {
		row := Node{
			Env: m.Env, Name: m.Name, Role: string(m.Role), Driver: m.Driver, Region: m.Region, Size: m.Size,
			Address: m.Address, PrivateAddress: m.PrivateAddress, Status: "stopped", Swarm: "none",
			HourlyUSD: m.HourlyUSD, Created: m.Created,
		}
		if m.Running {
			row.Status = "running"
		}
		if n, ok := swarm.Member(members, m.Name); ok {
			row.Swarm = string(n.Status.State)
			row.Engine = n.Description.Engine.EngineVersion
			row.Leader = n.ManagerStatus != nil && n.ManagerStatus.Leader
		} else if err != nil {
			row.Swarm = "unknown"
		}
		rows = append(rows, row)
	}
	return rows
}

// Names lists the environments that the drivers know.
func Names(ctx context.Context, drivers map[string]providers.Driver) ([]string, error) {
	all, err := answering(ctx, drivers, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range all {
		names = append(names, m.Env)
	}
	return slices.Compact(names), nil // sorted by environment
}

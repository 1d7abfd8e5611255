package services

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"skep/services/rethink"
)

// ShardPlan is where the replicas of a table's shard are, and where they
// should be.
type ShardPlan struct {
	Table   string   `json:"table"`
	Shard   int      `json:"shard"`
	Now     []string `json:"now"`
	Planned []string `json:"planned"`
	Primary string   `json:"primary"`
	Changes bool     `json:"changes"`
}

// HA plans the replicas of all tables, those of one database (DB) or one table
// (DB.TABLE), so that no loss of a node or a region loses data; apply sets them,
// and what it returns is then the plan from there on.
func (d RethinkDB) HA(ctx context.Context, of string, apply bool) ([]ShardPlan, error) {
	if apply {
		unlock, err := d.Env.Lock(ctx)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	v, tables, err := d.choose(ctx, of)
	if err != nil {
		return nil, err
	}
	// Replicas of servers that are gone for good are what it is for, too.
	if lacks := v.apart(); len(lacks) > 0 {
		return nil, fmt.Errorf("replicas are placed only while all servers see each other: %s", strings.Join(lacks, "; "))
	}
	for _, t := range tables {
		if !t.Status.ReadyForWrites {
			return nil, fmt.Errorf("%s is %s: wait for its servers, or see --emergency-repair", t.FullName(), t.Status)
		}
	}
	moves := rethink.Plan(v.places(), tables)
	if !apply {
		return placements(tables, moves), nil
	}
	manager, err := d.Env.Manager(ctx)
	if err != nil {
		return nil, err
	}
	session, err := d.session(ctx, manager, v.tasks, 1)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	if err := session.Tag(ctx, v.places()); err != nil {
		return nil, err
	}
	if err := session.Apply(ctx, moves, func(m rethink.Move) { d.Log.Info("replicas of " + m.Table + " placed") }); err != nil {
		return nil, err
	}
	if v, tables, err = d.choose(ctx, of); err != nil {
		return nil, err
	}
	return placements(tables, rethink.Plan(v.places(), tables)), nil
}

// Damaged are the tables of the choice that have lost the majority of their
// replicas: only an emergency repair brings them back without their servers.
func (d RethinkDB) Damaged(ctx context.Context, of string) ([]string, error) {
	_, tables, err := d.choose(ctx, of)
	var names []string
	for _, t := range tables {
		if !t.Status.ReadyForWrites {
			names = append(names, t.FullName())
		}
	}
	return names, err
}

// Repair makes those of the damaged tables that are named go on with the
// replicas that are left.
func (d RethinkDB) Repair(ctx context.Context, named []string) error {
	unlock, err := d.Env.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	v, tables, err := d.choose(ctx, "")
	if err != nil {
		return err
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
	var errs []error
	for _, t := range tables {
		if t.Status.ReadyForWrites || !slices.Contains(named, t.FullName()) {
			continue
		}
		err := session.Repair(ctx, t)
		if err == nil {
			d.Log.Info(t.FullName() + " goes on with the replicas that are left")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// choose reads the cluster and the tables that are meant.
func (d RethinkDB) choose(ctx context.Context, of string) (rethinkView, []rethink.Table, error) {
	v, err := d.look(ctx)
	if err == nil {
		err = v.err
	}
	if err != nil {
		return v, nil, err
	}
	if of == "" {
		return v, v.cluster.Tables, nil
	}
	db, table, _ := strings.Cut(of, ".")
	tables := slices.DeleteFunc(slices.Clone(v.cluster.Tables), func(t rethink.Table) bool {
		return t.DB != db || table != "" && t.Name != table
	})
	if len(tables) == 0 {
		return v, nil, fmt.Errorf("there is no table %s", of)
	}
	return v, tables, nil
}

func placements(tables []rethink.Table, moves []rethink.Move) []ShardPlan {
	all := []ShardPlan{}
	for _, t := range tables {
		to := t.Shards
		i := slices.IndexFunc(moves, func(m rethink.Move) bool { return m.ID == t.ID })
		if i >= 0 {
			to = moves[i].To
		}
		for n, shard := range t.Shards {
			all = append(all, ShardPlan{
				Table: t.FullName(), Shard: n + 1, Now: shard.Replicas, Planned: to[n].Replicas, Primary: to[n].Primary,
				Changes: !slices.Equal(shard.Replicas, to[n].Replicas) || shard.Primary != to[n].Primary,
			})
		}
	}
	return all
}

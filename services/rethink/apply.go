package rethink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// Apply moves replicas, one table after another, each until all its replicas
// have the data. What has been moved stays so where a later one fails.
func (s *Session) Apply(ctx context.Context, moves []Move, done func(Move)) error {
	for _, m := range moves {
		var shards []map[string]any
		for _, shard := range m.To {
			shards = append(shards, map[string]any{
				"primary_replica": shard.Primary, "replicas": shard.Replicas, "nonvoting_replicas": orNone(shard.Nonvoting),
			})
		}
		if _, err := s.run(ctx, system("table_config").Get(m.ID).Update(map[string]any{"shards": shards})); err != nil {
			return fmt.Errorf("place the replicas of %s: %w", m.Table, err)
		}
		if err := s.waitTable(ctx, m.ID); err != nil {
			return fmt.Errorf("wait for the replicas of %s: %w", m.Table, err)
		}
		done(m)
	}
	return nil
}

// orNone is a list that becomes [] and not null.
func orNone(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

var errGone = errors.New("the table is gone")

// silence is how long a server may fail to answer before it is given up.
const silence = 30 * time.Second

// waitTable asks until all replicas of a table are ready.
func (s *Session) waitTable(ctx context.Context, id string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answered := time.Now()
	return poll(ctx, func() error {
		tables, err := s.Tables(ctx)
		if err != nil {
			if time.Since(answered) > silence {
				cancel(errors.New("the server does not answer any more"))
			}
			return err
		}
		answered = time.Now()
		i := slices.IndexFunc(tables, func(t Table) bool { return t.ID == id })
		if i < 0 {
			cancel(errGone)
			return errGone
		}
		if !tables[i].Status.AllReplicasReady {
			return errors.New(tables[i].Status.String())
		}
		return nil
	})
}

// poll tries until there is no error any more; it ends with the context, and
// says why it had not come to its end.
func poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// Tag gives each server the tags of its node and region, beside those that
// people gave it, so that others can place by them, too.
func (s *Session) Tag(ctx context.Context, places []Place) error {
	type config struct {
		ID   string   `rethinkdb:"id"`
		Name string   `rethinkdb:"name"`
		Tags []string `rethinkdb:"tags"`
	}
	servers, err := all[config](ctx, s, system("server_config"))
	if err != nil {
		return fmt.Errorf("ask for the servers' tags: %w", err)
	}
	for _, server := range servers {
		i := slices.IndexFunc(places, func(p Place) bool { return p.Server == server.Name })
		if i < 0 {
			continue
		}
		tags := slices.DeleteFunc(slices.Clone(server.Tags), func(t string) bool {
			return strings.HasPrefix(t, nodeTag) || strings.HasPrefix(t, regionTag)
		})
		tags = append(tags, nodeTag+Name(places[i].Node), regionTag+Name(places[i].Region))
		if slices.Equal(tags, server.Tags) {
			continue
		}
		if _, err := s.run(ctx, system("server_config").Get(server.ID).Update(map[string]any{"tags": tags})); err != nil {
			return fmt.Errorf("tag server %s: %w", server.Name, err)
		}
	}
	return nil
}

const (
	nodeTag   = "node_"
	regionTag = "region_"
)

// Name makes a name of letters, digits and _, which is what servers and tags
// may have: db1_dev-worker-2 becomes db1_dev_worker_2.
func Name(text string) string {
	return strings.Map(func(c rune) rune {
		if c < 128 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') {
			return c
		}
		return '_'
	}, text)
}

// Repair lets a table that has lost the majority of its replicas go on with
// those that are left. What only the lost ones had is gone for good.
func (s *Session) Repair(ctx context.Context, t Table) error {
	query := r.DB(t.DB).Table(t.Name).Reconfigure(r.ReconfigureOpts{EmergencyRepair: "unsafe_rollback"})
	if _, err := s.run(ctx, query); err != nil {
		return fmt.Errorf("repair %s: %w", t.FullName(), err)
	}
	return nil
}

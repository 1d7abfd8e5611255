package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"gopkg.in/rethinkdb/rethinkdb-go.v6/ql2"
)

func adminTerms() map[ql2.Term_TermType]term {
	return map[ql2.Term_TermType]term{
		ql2.Term_CONFIG:      systemRow("table_config", "db_config"),
		ql2.Term_STATUS:      systemRow("table_status", ""),
		ql2.Term_WAIT:        wait,
		ql2.Term_RECONFIGURE: reconfigure,
		ql2.Term_REBALANCE: func(_ context.Context, _ *evaluation, _ []any, _ map[string]any) (any, error) {
			return map[string]any{"rebalanced": 1, "status_changes": []any{}}, nil
		},
		ql2.Term_INFO: info,
	}
}

// systemRow is the row of a table, or of a database, in a table that shows the cluster's state.
func systemRow(ofTable, ofDatabase string) term {
	return func(ctx context.Context, e *evaluation, args []any, _ map[string]any) (any, error) {
		what, err := argument[any](args, 0, "TABLE")
		if err != nil {
			return nil, err
		}
		name, id := ofTable, ""
		switch v := what.(type) {
		case *documentTable:
			id = v.id
		case database:
			name, id = ofDatabase, v.id
		}
		if id == "" || name == "" {
			return nil, logicError("Expected type TABLE but found %s.", typeName(what))
		}
		rows, err := e.mesh.systemTable(name, false)
		if err != nil {
			return nil, err
		}
		return getOne(ctx, e, []any{rows, id}, nil)
	}
}

func wait(ctx context.Context, e *evaluation, args []any, options map[string]any) (any, error) {
	if err := only(options, "wait_for", "timeout"); err != nil {
		return nil, err
	}
	ids, err := e.tablesOf(ctx, args)
	if err != nil {
		return nil, err
	}
	want, _ := options["wait_for"].(string)
	if want == "" {
		want = "all_replicas_ready"
	}
	if seconds, ok := options["timeout"].(float64); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(seconds*float64(time.Second)))
		defer cancel()
	}
	for _, id := range ids {
		for !e.mesh.health(ctx, id).is(want) {
			select {
			case <-ctx.Done():
				return nil, &queryError{opFailed, "Timed out while waiting for tables."}
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return map[string]any{"ready": len(ids)}, nil
}

// tablesOf is the table, or those of the database, that the first argument is.
func (e *evaluation) tablesOf(ctx context.Context, args []any) ([]string, error) {
	if len(args) > 0 {
		if t, ok := args[0].(*documentTable); ok {
			return []string{t.id}, nil
		}
	}
	db, _, err := e.databaseOf(ctx, args)
	return slices.Sorted(maps.Keys(e.mesh.tables(db))), err
}

func reconfigure(ctx context.Context, e *evaluation, args []any, options map[string]any) (any, error) {
	err := only(options, "shards", "replicas", "primary_replica_tag", "nonvoting_replica_tags", "dry_run", "emergency_repair")
	if err != nil {
		return nil, err
	}
	ids, err := e.tablesOf(ctx, args)
	if err != nil {
		return nil, err
	}
	result := map[string]any{"reconfigured": 0}
	var configs, statuses []any
	for _, id := range ids {
		config, status, err := e.mesh.reconfigure(ctx, id, options)
		if err != nil {
			return nil, err
		}
		configs, statuses = append(configs, config), append(statuses, status)
	}
	result["config_changes"] = configs
	if options["dry_run"] != true {
		result["reconfigured"], result["status_changes"] = len(ids), statuses
	}
	return result, nil
}

func (m *mesh) reconfigure(ctx context.Context, id string, options map[string]any) (config, status map[string]any, err error) {
	t, _, _ := m.store.table(id)
	next := t
	if mode, ok := options["emergency_repair"]; ok {
		next.Shards, err = m.repaired(t, mode)
		next.Previous = nil
	} else {
		next.Shards, err = m.place(t, options)
	}
	if err != nil {
		return nil, nil, err
	}
	config = map[string]any{"old_val": m.configRow(id, t, false), "new_val": m.configRow(id, next, false)}
	if options["dry_run"] == true {
		return config, nil, nil
	}
	status = map[string]any{"old_val": m.statusRow(ctx, id, t, false)}
	if options["emergency_repair"] != nil {
		err = m.saveTable(ctx, id, next)
	} else {
		err = m.changeShards(ctx, id, next)
	}
	m.awaitLeader(ctx, id)
	next, _, _ = m.store.table(id)
	status["new_val"] = m.statusRow(ctx, id, next, false)
	return config, status, err
}

// changeShards moves a table to other servers. Only its leader can.
func (m *mesh) changeShards(ctx context.Context, id string, next tableRecord) error {
	d := &documentTable{mesh: m, id: id, config: next}
	_, err := d.atLeader(ctx, "write", request{Change: &changeRequest{id, next.Shards}})
	return err
}

// repaired leaves out the servers that are not there. What only they had is lost.
func (m *mesh) repaired(t tableRecord, mode any) ([]shard, error) {
	if mode != "unsafe_rollback" && mode != "unsafe_rollback_or_erase" {
		return nil, logicError("`emergency_repair` should be \"unsafe_rollback\" or \"unsafe_rollback_or_erase\"")
	}
	if t.majority(m.reaches) {
		return nil, &queryError{opFailed, "This table doesn't need to be repaired."}
	}
	var left []string
	for _, id := range t.members() {
		if m.reaches(id) {
			left = append(left, id)
		}
	}
	if len(left) == 0 && mode == "unsafe_rollback" {
		return nil, &queryError{opFailed, "At least one of a table's replicas must be accessible in order to repair it with " +
			"`unsafe_rollback`; `unsafe_rollback_or_erase` gives the table up and makes an empty one."}
	}
	if len(left) == 0 {
		left = []string{m.store.serverID}
	}
	shards := make([]shard, len(t.Shards))
	for i, s := range t.Shards {
		for _, id := range s.Replicas {
			if slices.Contains(left, id) {
				shards[i].Replicas = append(shards[i].Replicas, id)
			}
		}
		if len(shards[i].Replicas) == 0 {
			shards[i].Replicas = left[:1]
		}
		shards[i].Primary = shards[i].Replicas[0]
		if slices.Contains(left, s.Primary) {
			shards[i].Primary = s.Primary
		}
	}
	return shards, nil
}

func info(ctx context.Context, e *evaluation, args []any, _ map[string]any) (any, error) {
	what, err := argument[any](args, 0, "DATUM")
	if err != nil {
		return nil, err
	}
	describe := func(db database) map[string]any {
		return map[string]any{"type": "DB", "name": db.name, "id": db.id}
	}
	switch v := what.(type) {
	case database:
		return describe(v), nil
	case *documentTable:
		n, err := scanning(v, scanRequest{}).count(ctx)
		if err != nil {
			return nil, err
		}
		names := []string{}
		for _, one := range v.config.Indexes {
			names = append(names, one.Name)
		}
		db := database{v.config.Database, e.mesh.store.names(kindDatabase)[v.config.Database]}
		return map[string]any{
			"type": "TABLE", "name": v.config.Name, "id": v.id, "primary_key": v.config.PrimaryKey,
			"db": describe(db), "indexes": listed(names...), "doc_count_estimates": []any{n},
		}, nil
	}
	return map[string]any{"type": typeName(what), "value": printed(what)}, nil
}

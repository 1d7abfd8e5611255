package main

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"time"

	"gopkg.in/rethinkdb/rethinkdb-go.v6/ql2"
)

func schemaTerms() map[ql2.Term_TermType]term {
	return map[ql2.Term_TermType]term{
		ql2.Term_DB_LIST:      listDatabases,
		ql2.Term_DB_CREATE:    createDatabase,
		ql2.Term_DB_DROP:      dropDatabase,
		ql2.Term_TABLE_LIST:   listTables,
		ql2.Term_TABLE_CREATE: createTable,
		ql2.Term_TABLE_DROP:   dropTable,
	}
}

func checkName(kind, name string) error {
	if !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(name) {
		return logicError("%s name `%s` invalid (Use A-Z, a-z, 0-9, _ and - only).", kind, name)
	}
	return nil
}

func listed(names ...string) []any {
	slices.Sort(names)
	list := make([]any, len(names))
	for i, name := range names {
		list[i] = name
	}
	return list
}

func listDatabases(_ context.Context, e *evaluation, _ []any, _ map[string]any) (any, error) {
	names := slices.Collect(maps.Values(e.mesh.store.names(kindDatabase)))
	return listed(append(names, systemDatabase)...), nil
}

func createDatabase(ctx context.Context, e *evaluation, args []any, _ map[string]any) (any, error) {
	name, err := argument[string](args, 0, "STRING")
	if err != nil {
		return nil, err
	}
	if err := checkName("Database", name); err != nil {
		return nil, err
	}
	if name == systemDatabase || len(byName(e.mesh.store.names(kindDatabase), name)) > 0 {
		return nil, &queryError{opFailed, "Database `" + name + "` already exists."}
	}
	id := newUUID()
	r, err := e.mesh.store.next(kindDatabase, id, databaseRecord{name})
	if err != nil {
		return nil, err
	}
	change := map[string]any{"old_val": nil, "new_val": map[string]any{"id": id, "name": name}}
	return map[string]any{"dbs_created": 1, "config_changes": []any{change}}, e.mesh.publish(ctx, r)
}

func dropDatabase(ctx context.Context, e *evaluation, args []any, _ map[string]any) (any, error) {
	found, err := findDatabase(ctx, e, args, nil)
	if err != nil {
		return nil, err
	}
	db := found.(database)
	if db.id == "" {
		return nil, &queryError{opFailed, "Database `rethinkdb` is special; you can't delete it."}
	}
	var gone []record
	for id := range e.mesh.tables(db) {
		r, err := e.mesh.store.next(kindTable, id, nil)
		if err != nil {
			return nil, err
		}
		gone = append(gone, r)
	}
	r, err := e.mesh.store.next(kindDatabase, db.id, nil)
	if err != nil {
		return nil, err
	}
	change := map[string]any{"new_val": nil, "old_val": map[string]any{"id": db.id, "name": db.name}}
	return map[string]any{"dbs_dropped": 1, "tables_dropped": len(gone), "config_changes": []any{change}},
		e.mesh.publish(ctx, append(gone, r)...)
}

func listTables(ctx context.Context, e *evaluation, args []any, _ map[string]any) (any, error) {
	db, _, err := e.databaseOf(ctx, args)
	if err != nil {
		return nil, err
	}
	if db.name == systemDatabase {
		return listed(systemTables()...), nil
	}
	return listed(slices.Collect(maps.Values(e.mesh.tables(db)))...), nil
}

func createTable(ctx context.Context, e *evaluation, args []any, options map[string]any) (any, error) {
	err := only(options, "primary_key", "durability", "shards", "replicas", "primary_replica_tag", "nonvoting_replica_tags")
	if err != nil {
		return nil, err
	}
	if err := checkDurability(options); err != nil {
		return nil, err
	}
	db, args, err := e.databaseOf(ctx, args)
	if err != nil {
		return nil, err
	}
	name, err := argument[string](args, 0, "STRING")
	if err != nil {
		return nil, err
	}
	if err := checkName("Table", name); err != nil {
		return nil, err
	}
	if db.id == "" || len(byName(e.mesh.tables(db), name)) > 0 {
		return nil, &queryError{opFailed, "Table `" + db.name + "." + name + "` already exists."}
	}
	t := tableRecord{Name: name, Database: db.id, PrimaryKey: "id", Durability: "hard", WriteAcks: "majority"}
	if key, ok := options["primary_key"].(string); ok {
		t.PrimaryKey = key
	}
	if durability, ok := options["durability"].(string); ok {
		t.Durability = durability
	}
	if t.Shards, err = e.mesh.place(tableRecord{}, options); err != nil {
		return nil, err
	}
	id := newUUID()
	if err := e.mesh.saveTable(ctx, id, t); err != nil {
		return nil, err
	}
	e.mesh.awaitLeader(ctx, id)
	change := map[string]any{"old_val": nil, "new_val": e.mesh.configRow(id, t, false)}
	return map[string]any{"tables_created": 1, "config_changes": []any{change}}, nil
}

func (m *mesh) saveTable(ctx context.Context, id string, t tableRecord) error {
	r, err := m.store.next(kindTable, id, t)
	if err != nil {
		return err
	}
	return m.publish(ctx, r)
}

// awaitLeader waits until a table's primary leads it and no change of its servers is under way, but not for ever.
func (m *mesh) awaitLeader(ctx context.Context, table string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		t, _, ok := m.store.table(table)
		if !ok || len(t.Previous) == 0 && m.groups.leader(table).Server == t.voters()[0] {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func dropTable(ctx context.Context, e *evaluation, args []any, _ map[string]any) (any, error) {
	found, err := findTable(ctx, e, args, nil)
	if err != nil {
		return nil, err
	}
	t, ok := found.(*documentTable)
	if !ok {
		return nil, &queryError{opFailed, "Database `rethinkdb` is special; you can't drop tables in it."}
	}
	change := map[string]any{"new_val": nil, "old_val": e.mesh.configRow(t.id, t.config, false)}
	r, err := e.mesh.store.next(kindTable, t.id, nil)
	if err != nil {
		return nil, err
	}
	return map[string]any{"tables_dropped": 1, "config_changes": []any{change}}, e.mesh.publish(ctx, r)
}

package main

import (
	"context"
	"slices"
	"sort"
)

// systemTable shows the cluster's own state: https://rethinkdb.com/docs/system-tables/. Its rows are made for each query.
type systemTable struct {
	mesh   *mesh
	title  string
	rows   func(ctx context.Context) ([]map[string]any, error)
	change func(ctx context.Context, old, next map[string]any) error // nil if it cannot be written to
}

func systemTables() []string {
	return []string{
		"cluster_config", "current_issues", "db_config", "jobs", "logs", "permissions", "server_config", "server_status",
		"stats", "table_config", "table_status", "users",
	}
}

// systemTable finds one. With asIDs its rows name servers, databases and tables by their ids.
func (m *mesh) systemTable(name string, asIDs bool) (*systemTable, error) {
	t := &systemTable{mesh: m, title: name}
	switch name {
	case "server_status":
		t.rows = m.serverStatus
	case "server_config":
		t.rows, t.change = m.serverConfig, m.setServer
	case "db_config":
		t.rows, t.change = m.databaseConfig, m.setDatabase
	case "table_config":
		t.rows, t.change = m.perTable(func(_ context.Context, id string, c tableRecord) map[string]any {
			return m.configRow(id, c, asIDs)
		}), m.setTable
	case "table_status":
		t.rows = m.perTable(func(ctx context.Context, id string, c tableRecord) map[string]any {
			return m.statusRow(ctx, id, c, asIDs)
		})
	case "current_issues":
		t.rows = m.issues
	case "users":
		t.rows, t.change = m.users, m.setUser
	case "cluster_config":
		t.rows = fixed(map[string]any{"id": "heartbeat", "heartbeat_timeout_secs": 10})
	case "jobs", "logs", "permissions", "stats":
		t.rows = fixed() // the stand-in has nothing to tell there
	default:
		return nil, &queryError{opFailed, "Table `rethinkdb." + name + "` does not exist."}
	}
	return t, nil
}

func fixed(rows ...map[string]any) func(context.Context) ([]map[string]any, error) {
	return func(context.Context) ([]map[string]any, error) { return rows, nil }
}

func (t *systemTable) name() string       { return t.title }
func (t *systemTable) primaryKey() string { return "id" }

type systemRowOf struct {
	key  string
	row  map[string]any
	text []byte
}

func (t *systemTable) sorted(ctx context.Context) ([]systemRowOf, error) {
	rows, err := t.rows(ctx)
	if err != nil {
		return nil, err
	}
	var all []systemRowOf
	for _, one := range rows {
		key, err := encodeKey(one["id"])
		if err != nil {
			return nil, err
		}
		// As JSON has it: whole numbers are floats there, and lists lists of anything.
		text := canonical(one)
		all = append(all, systemRowOf{key, decode(text).(map[string]any), text})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].key < all[j].key })
	return all, nil
}

func (t *systemTable) read(ctx context.Context, r scanRequest) (*scanAnswer, error) {
	all, err := t.sorted(ctx)
	a := &scanAnswer{}
	for _, one := range all {
		switch {
		case r.Keys != nil && !slices.Contains(r.Keys, one.key),
			one.key < r.From, r.After && one.key == r.From,
			r.To != "" && (one.key > r.To || one.key == r.To && !r.ToClosed):
			continue
		}
		a.Count++
		a.Keys, a.JSON = append(a.Keys, one.key), append(a.JSON, one.text)
	}
	return a, err
}

func (t *systemTable) write(ctx context.Context, w writeRequest) (*writeAnswer, error) {
	if t.change == nil {
		return nil, &queryError{opFailed, "It's illegal to write to the `rethinkdb." + t.title + "` table."}
	}
	all, err := t.sorted(ctx)
	if err != nil {
		return nil, err
	}
	w.PrimaryKey = "id"
	a := &writeAnswer{}
	for i, key := range w.Keys {
		at := slices.IndexFunc(all, func(one systemRowOf) bool { return one.key == key })
		if at < 0 && w.Kind != inserting {
			a.Skipped++
			continue
		}
		if at < 0 || w.Kind == deleting {
			return nil, unknown("rows of rethinkdb.%s can be changed, but not made or deleted.", t.title)
		}
		was := *a
		text, err := w.apply(a, i, all[at].text)
		if err == nil && a.Unchanged == was.Unchanged {
			err = t.change(ctx, all[at].row, decode(text).(map[string]any))
		}
		if err != nil {
			*a = was
			a.fail(err)
		}
	}
	return a, nil
}

// changed are the names of the fields that differ, of which only some may.
func changed(old, next map[string]any, may ...string) error {
	for key := range next {
		if _, ok := old[key]; !ok && !slices.Contains(may, key) {
			return logicError("Unexpected key(s): [%q]", key)
		}
	}
	for key, value := range old {
		if !same(value, next[key]) && !slices.Contains(may, key) {
			return logicError("The field `%s` cannot be changed here.", key)
		}
	}
	return nil
}

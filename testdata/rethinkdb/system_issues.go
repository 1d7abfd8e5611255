package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// issues are what is wrong with the cluster: https://rethinkdb.com/docs/system-issues/.
func (m *mesh) issues(ctx context.Context) ([]map[string]any, error) {
	var all []map[string]any
	add := func(kind, of string, critical bool, info map[string]any, description string) {
		all = append(all, map[string]any{
			"id": derivedID(kind, of), "type": kind, "critical": critical, "info": info, "description": description,
		})
	}
	for _, issue := range m.nameIssues() {
		add(issue.kind, issue.name+issue.within, true, issue.info(), issue.description())
	}
	var blind []string
	reports := m.reports(ctx)
	for _, one := range reports {
		for _, other := range reports {
			if !slices.Contains(one.Connected, other.Row["id"].(string)) {
				blind = unique(append(blind, one.Row["name"].(string)))
			}
		}
	}
	if len(blind) > 0 {
		add("non_transitive_error", "", true,
			map[string]any{"message": "Server connectivity is non-transitive.", "servers": listed(blind...)},
			"There are currently servers that cannot see every server in the cluster. This may cause table availability issues.")
	}
	for _, r := range m.store.records(kindTable) {
		t, _, ok := m.store.table(r.ID)
		if !ok {
			continue
		}
		row := m.statusRow(ctx, r.ID, t, false)
		status := row["status"].(map[string]any)
		if status["all_replicas_ready"] == true {
			continue
		}
		info := map[string]any{"table": t.Name, "db": row["db"], "status": status, "shards": row["shards"]}
		add("table_availability", r.ID, status["ready_for_writes"] != true, info, m.describe(ctx, r.ID, t))
	}
	return all, nil
}

func (m *mesh) describe(ctx context.Context, id string, t tableRecord) string {
	h := m.health(ctx, id)
	text := "Table `" + m.fullName(t) + "` is " + map[readiness]string{
		unavailable:   "not available for any operations.",
		outdatedReads: "available for outdated reads, but not up-to-date reads or writes.",
		reads:         "available for outdated and up-to-date reads, but not writes.",
		writes:        "available for all operations, but some replicas are not ready.",
		finished:      "available for all operations.",
	}[h.readiness]
	var behind []string
	for _, server := range t.replicas() {
		if h.states[server] == "ready" {
			continue
		}
		role := "secondary"
		if slices.ContainsFunc(t.Shards, func(s shard) bool { return s.Primary == server }) {
			role = "primary"
		}
		behind = append(behind, fmt.Sprintf("\n %s (%s replica)", m.shown(server, false), role))
	}
	if len(behind) > 0 {
		text += "\nThe servers that are not ready are:" + strings.Join(behind, "")
	}
	return text
}

// nameIssue is a name that several have.
type nameIssue struct {
	kind, name, within string // within a database, by id
	db                 string
	ids                []string
}

func (i nameIssue) info() map[string]any {
	info := map[string]any{"name": i.name, "ids": listed(slices.Clone(i.ids)...)}
	if i.within != "" {
		info["db"] = i.db
	}
	return info
}

func (i nameIssue) description() string {
	what := map[string]string{
		"server_name_collision": "servers", "db_name_collision": "databases",
		"table_name_collision": "tables in database '" + i.db + "'",
	}[i.kind]
	return fmt.Sprintf("The following %s are all named '%s': %s.", what, i.name, strings.Join(i.ids, ", "))
}

func (m *mesh) nameIssues() []nameIssue {
	var found []nameIssue
	add := func(kind string, names map[string]string, db database) {
		for _, name := range collisions(names) {
			found = append(found, nameIssue{kind, name, db.id, db.name, byName(names, name)})
		}
	}
	servers := map[string]string{}
	for _, id := range m.up() {
		servers[id] = m.store.server(id).Name
	}
	databases := m.store.names(kindDatabase)
	add("server_name_collision", servers, database{})
	add("db_name_collision", databases, database{})
	for id, name := range databases {
		add("table_name_collision", m.tables(database{id: id}), database{id, name})
	}
	return found
}

// derivedID stays the same as long as an issue lasts.
func derivedID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

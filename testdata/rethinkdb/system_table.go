package main

import (
	"context"
	"encoding/json"
	"slices"
)

func (m *mesh) perTable(row func(context.Context, string, tableRecord) map[string]any) func(context.Context) ([]map[string]any, error) {
	return func(ctx context.Context) ([]map[string]any, error) {
		var rows []map[string]any
		for _, r := range m.store.records(kindTable) {
			if t, _, ok := m.store.table(r.ID); ok {
				rows = append(rows, row(ctx, r.ID, t))
			}
		}
		return rows, nil
	}
}

// shown is a server as rows name it.
func (m *mesh) shown(id string, asIDs bool) string {
	if asIDs {
		return id
	}
	if name := m.store.server(id).Name; name != "" {
		return name
	}
	return "__deleted_server__"
}

func (m *mesh) allShown(ids []string, asIDs bool) []any {
	var names []string
	for _, id := range ids {
		names = append(names, m.shown(id, asIDs))
	}
	return listed(names...)
}

func (m *mesh) databaseShown(id string, asIDs bool) string {
	if asIDs {
		return id
	}
	return m.store.names(kindDatabase)[id]
}

func (m *mesh) configRow(id string, t tableRecord, asIDs bool) map[string]any {
	shards := []any{}
	for _, s := range t.Shards {
		shards = append(shards, map[string]any{
			"primary_replica": m.shown(s.Primary, asIDs), "replicas": m.allShown(s.Replicas, asIDs),
			"nonvoting_replicas": m.allShown(s.Nonvoting, asIDs),
		})
	}
	var indexes []string
	for _, one := range t.Indexes {
		indexes = append(indexes, one.Name)
	}
	data := json.RawMessage(`{}`)
	if t.Data != nil {
		data = t.Data
	}
	return map[string]any{
		"id": id, "name": t.Name, "db": m.databaseShown(t.Database, asIDs), "primary_key": t.PrimaryKey, "shards": shards,
		"indexes": listed(indexes...), "write_acks": t.WriteAcks, "durability": t.Durability, "write_hook": nil,
		"flush_interval": "default", "data": data,
	}
}

// setTable takes over what may change. Other servers get the table before it counts.
func (m *mesh) setTable(ctx context.Context, old, next map[string]any) error {
	if err := changed(old, next, "name", "shards", "write_acks", "durability", "data"); err != nil {
		return err
	}
	id := old["id"].(string)
	t, _, _ := m.store.table(id)
	t.Name, _ = next["name"].(string)
	if err := checkName("Table", t.Name); err != nil {
		return err
	}
	t.WriteAcks, _ = next["write_acks"].(string)
	t.Durability, _ = next["durability"].(string)
	if t.WriteAcks != "majority" && t.WriteAcks != "single" || t.Durability != "hard" && t.Durability != "soft" {
		return logicError("`write_acks` is \"majority\" or \"single\", and `durability` \"hard\" or \"soft\".")
	}
	t.Data = canonical(next["data"])
	if !same(configWithout(old, "shards"), configWithout(next, "shards")) {
		if err := m.saveTable(ctx, id, t); err != nil {
			return err
		}
	}
	if same(old["shards"], next["shards"]) {
		return nil
	}
	var err error
	if t.Shards, err = m.shardsOf(next["shards"]); err != nil {
		return err
	}
	if err := m.changeShards(ctx, id, t); err != nil {
		return err
	}
	m.awaitLeader(ctx, id)
	return nil
}

func configWithout(row map[string]any, field string) map[string]any {
	rest := map[string]any{}
	for key, value := range row {
		if key != field {
			rest[key] = value
		}
	}
	return rest
}

func (m *mesh) shardsOf(value any) ([]shard, error) {
	var rows []struct {
		Primary   string   `json:"primary_replica"`
		Replicas  []string `json:"replicas"`
		Nonvoting []string `json:"nonvoting_replicas"`
	}
	if err := json.Unmarshal(canonical(value), &rows); err != nil || len(rows) == 0 {
		return nil, logicError("In `shards`: Expected a non-empty array of {primary_replica, replicas, nonvoting_replicas}.")
	}
	var shards []shard
	for _, one := range rows {
		var s shard
		var err error
		if s.Replicas, err = m.serversCalled(one.Replicas); err != nil {
			return nil, err
		}
		if s.Nonvoting, err = m.serversCalled(one.Nonvoting); err != nil {
			return nil, err
		}
		primary, err := m.serversCalled([]string{one.Primary})
		if err != nil {
			return nil, err
		}
		s.Primary = primary[0]
		if !slices.Contains(s.Replicas, s.Primary) {
			return nil, logicError("The server listed in the `primary_replica` field (`%s`) must also appear in `replicas`.", one.Primary)
		}
		if slices.Contains(s.Nonvoting, s.Primary) {
			return nil, logicError("The primary replica (`%s`) must be a voting replica.", one.Primary)
		}
		for _, id := range s.Nonvoting {
			if !slices.Contains(s.Replicas, id) {
				return nil, logicError("Every server in `nonvoting_replicas` must also appear in `replicas`.")
			}
		}
		shards = append(shards, s)
	}
	return shards, nil
}

// serversCalled are the ids of servers that are named by name or id.
func (m *mesh) serversCalled(names []string) ([]string, error) {
	var ids []string
	for _, name := range names {
		var fit []string
		for id, known := range m.store.names(kindServer) {
			if id == name || known == name {
				fit = append(fit, id)
			}
		}
		if len(fit) > 1 { // a name that was used before: of those the one that is there
			fit = slices.DeleteFunc(fit, func(id string) bool { return !m.reaches(id) })
		}
		if len(fit) != 1 {
			return nil, logicError("Server `%s` does not exist, or is ambiguous.", name)
		}
		if slices.Contains(ids, fit[0]) {
			return nil, logicError("Server `%s` is listed more than once.", name)
		}
		ids = append(ids, fit[0])
	}
	return ids, nil
}

// readiness is how much of a table can be used; each level has those below.
type readiness int

const (
	unavailable readiness = iota
	outdatedReads
	reads
	writes
	finished
)

type health struct {
	readiness readiness
	leader    string
	states    map[string]string // of each server of the table
}

func (h health) is(what string) bool {
	levels := map[string]readiness{
		"ready_for_outdated_reads": outdatedReads, "ready_for_reads": reads, "ready_for_writes": writes,
		"all_replicas_ready": finished,
	}
	return h.readiness >= levels[what]
}

func (m *mesh) health(ctx context.Context, table string) health {
	t, _, _ := m.store.table(table)
	h := health{leader: m.groups.leader(table).Server, states: map[string]string{}}
	var state stateAnswer
	if h.leader != "" {
		ctx, cancel := context.WithTimeout(ctx, statusPatience)
		defer cancel()
		if answer, err := m.call(ctx, h.leader, request{State: &table}); err == nil && answer.State != nil && answer.State.Leading {
			state = *answer.State
		} else {
			h.leader = ""
		}
	}
	if h.leader != "" {
		h.readiness = finished
		if len(t.Previous) > 0 {
			h.readiness = writes
		}
	}
	for _, id := range t.members() {
		h.states[id] = m.stateOf(id, h.leader, state, t)
		switch {
		case h.leader != "" && h.states[id] != "ready":
			h.readiness = writes
		case h.leader == "" && m.reaches(id):
			h.readiness = outdatedReads
		}
	}
	return h
}

func (m *mesh) stateOf(id, leader string, state stateAnswer, t tableRecord) string {
	switch {
	case id == leader, leader != "" && slices.Contains(state.Ready, id):
		return "ready"
	case !m.reaches(id):
		return "disconnected"
	case leader != "":
		return "backfilling"
	case t.majority(m.reaches):
		return "waiting_for_primary"
	}
	return "waiting_for_quorum"
}

func (m *mesh) statusRow(ctx context.Context, id string, t tableRecord, asIDs bool) map[string]any {
	h := m.health(ctx, id)
	shards := []any{}
	for _, s := range t.Shards {
		replicas := []any{}
		for _, server := range unique(append([]string{s.Primary}, s.Replicas...)) {
			replicas = append(replicas, map[string]any{"server": m.shown(server, asIDs), "state": h.states[server]})
		}
		primaries := []any{}
		switch {
		case h.leader == "":
		case slices.Contains(s.Replicas, h.leader):
			primaries = append(primaries, m.shown(h.leader, asIDs))
		case h.states[s.Primary] == "ready": // all shards have one leader, which need not be a server of each
			primaries = append(primaries, m.shown(s.Primary, asIDs))
		}
		shards = append(shards, map[string]any{"primary_replicas": primaries, "replicas": replicas})
	}
	leader := any(nil)
	if h.leader != "" {
		leader = m.shown(h.leader, asIDs)
	}
	return map[string]any{
		"id": id, "name": t.Name, "db": m.databaseShown(t.Database, asIDs), "raft_leader": leader, "shards": shards,
		"status": map[string]any{
			"ready_for_outdated_reads": h.is("ready_for_outdated_reads"), "ready_for_reads": h.is("ready_for_reads"),
			"ready_for_writes": h.is("ready_for_writes"), "all_replicas_ready": h.is("all_replicas_ready"),
		},
	}
}

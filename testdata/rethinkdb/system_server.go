package main

import (
	"context"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"
)

// ownReport is what a server tells of itself when another is asked for rethinkdb.server_status.
type ownReport struct {
	Row       map[string]any
	Connected []string // server ids
}

func (m *mesh) ownStatus() ([]byte, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	addresses := []any{}
	for _, one := range m.self.names {
		addresses = append(addresses, map[string]any{"host": one.Host, "port": one.Port})
	}
	httpPort := any(m.config.httpPort)
	if m.config.noHTTP {
		httpPort = "<no http admin>"
	}
	self := m.store.identity()
	report := ownReport{Connected: m.up(), Row: map[string]any{
		"id": self.ServerID, "name": self.Name,
		"network": map[string]any{
			"canonical_addresses": addresses, "cluster_port": m.config.clusterPort, "hostname": host,
			"http_admin_port": httpPort, "reql_port": m.config.driverPort, "time_connected": timeValue(m.started),
		},
		"process": map[string]any{
			"argv": os.Args, "cache_size_mb": m.config.cacheSize, "pid": os.Getpid(),
			"time_started": timeValue(m.started), "version": version,
		},
	}}
	return json.Marshal(report)
}

// statusPatience is how long a server that is connected may take to tell of itself before it is left out.
const statusPatience = 2 * time.Second

func (m *mesh) reports(ctx context.Context) []ownReport {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	var mu sync.Mutex
	var all []ownReport
	var asked sync.WaitGroup
	for _, id := range m.up() {
		asked.Go(func() {
			answer, err := m.call(ctx, id, request{Status: true})
			var report ownReport
			if err != nil || json.Unmarshal(answer.Status, &report) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, report)
		})
	}
	asked.Wait()
	return all
}

func (m *mesh) serverStatus(ctx context.Context) ([]map[string]any, error) {
	all := m.reports(ctx)
	var rows []map[string]any
	for _, one := range all {
		sees := map[string]any{}
		for _, other := range all {
			if id := other.Row["id"].(string); id != one.Row["id"] {
				sees[other.Row["name"].(string)] = slices.Contains(one.Connected, id)
			}
		}
		one.Row["network"].(map[string]any)["connected_to"] = sees
		rows = append(rows, one.Row)
	}
	return rows, nil
}

// serverConfig has those that are connected, like the real one since 2.1.
func (m *mesh) serverConfig(context.Context) ([]map[string]any, error) {
	var rows []map[string]any
	for _, id := range m.up() {
		s := m.store.server(id)
		rows = append(rows, map[string]any{"id": id, "name": s.Name, "tags": s.Tags, "cache_size_mb": "auto"})
	}
	return rows, nil
}

func (m *mesh) setServer(ctx context.Context, old, next map[string]any) error {
	if err := changed(old, next, "name", "tags"); err != nil {
		return err
	}
	id := old["id"].(string)
	var s serverRecord
	s.Name, _ = next["name"].(string)
	if err := checkName("Server", s.Name); err != nil {
		return err
	}
	for _, other := range m.up() {
		if other != id && m.store.server(other).Name == s.Name {
			return &queryError{opFailed, "Cannot rename server `" + old["name"].(string) + "` to `" + s.Name + "` because server `" + s.Name + "` already exists."}
		}
	}
	tags, ok := next["tags"].([]any)
	if !ok {
		return logicError("In `tags`: Expected an array, got %s.", printed(next["tags"]))
	}
	valid := regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	for _, one := range tags {
		tag, _ := one.(string)
		if !valid.MatchString(tag) {
			return logicError("In `tags`: %s is no valid name (Use A-Z, a-z, 0-9, _ and - only).", printed(one))
		}
		s.Tags = unique(append(s.Tags, tag))
	}
	slices.Sort(s.Tags)
	r, err := m.store.next(kindServer, id, s)
	if err != nil {
		return err
	}
	return m.publish(ctx, r)
}

func (m *mesh) users(context.Context) ([]map[string]any, error) {
	return []map[string]any{{"id": admin, "password": m.store.hasPassword()}}, nil
}

func (m *mesh) setUser(ctx context.Context, old, next map[string]any) error {
	if err := changed(old, next, "password"); err != nil {
		return err
	}
	password, isText := next["password"].(string)
	if !isText && next["password"] != false {
		return logicError("Expected a string or `false` as the password, got %s.", printed(next["password"]))
	}
	r, err := m.store.next(kindUser, admin, newCredentials(password))
	if err != nil {
		return err
	}
	return m.publish(ctx, r)
}

func (m *mesh) databaseConfig(context.Context) ([]map[string]any, error) {
	var rows []map[string]any
	for id, name := range m.store.names(kindDatabase) {
		rows = append(rows, map[string]any{"id": id, "name": name})
	}
	return rows, nil
}

func (m *mesh) setDatabase(ctx context.Context, old, next map[string]any) error {
	if err := changed(old, next, "name"); err != nil {
		return err
	}
	name, _ := next["name"].(string)
	if err := checkName("Database", name); err != nil {
		return err
	}
	if name == systemDatabase || len(byName(m.store.names(kindDatabase), name)) > 0 {
		return &queryError{opFailed, "Database `" + name + "` already exists."}
	}
	r, err := m.store.next(kindDatabase, old["id"].(string), databaseRecord{name})
	if err != nil {
		return err
	}
	return m.publish(ctx, r)
}

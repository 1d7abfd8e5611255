package rethink

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Server is a server as it describes itself in server_status.
type Server struct {
	ID      string `rethinkdb:"id"`
	Name    string `rethinkdb:"name"`
	Network struct {
		Hostname string `rethinkdb:"hostname"`
		// By name; a server that is not there is false or missing.
		ConnectedTo map[string]bool `rethinkdb:"connected_to"`
	} `rethinkdb:"network"`
	Process struct {
		Started time.Time `rethinkdb:"time_started"`
		Version string    `rethinkdb:"version"`
	} `rethinkdb:"process"`
}

// Table is a table and how its shards are placed, of table_config.
type Table struct {
	ID         string  `rethinkdb:"id"`
	DB         string  `rethinkdb:"db"`
	Name       string  `rethinkdb:"name"`
	PrimaryKey string  `rethinkdb:"primary_key"`
	Shards     []Shard `rethinkdb:"shards"`
	WriteAcks  string  `rethinkdb:"write_acks"`
	Durability string  `rethinkdb:"durability"`
	WriteHook  any     `rethinkdb:"write_hook"`

	Status TableStatus `rethinkdb:"-"`
}

// FullName is how people name a table.
func (t Table) FullName() string { return t.DB + "." + t.Name }

// Shard is the servers that keep one shard of a table, by name.
type Shard struct {
	Primary   string   `rethinkdb:"primary_replica"`
	Replicas  []string `rethinkdb:"replicas"`
	Nonvoting []string `rethinkdb:"nonvoting_replicas"`
}

// TableStatus is what a table can do now, of table_status.
type TableStatus struct {
	AllReplicasReady      bool `rethinkdb:"all_replicas_ready" json:"all_replicas_ready"`
	ReadyForWrites        bool `rethinkdb:"ready_for_writes" json:"ready_for_writes"`
	ReadyForReads         bool `rethinkdb:"ready_for_reads" json:"ready_for_reads"`
	ReadyForOutdatedReads bool `rethinkdb:"ready_for_outdated_reads" json:"ready_for_outdated_reads"`
}

// String is the status in a word.
func (t TableStatus) String() string {
	switch {
	case t.AllReplicasReady:
		return "ready"
	case t.ReadyForWrites:
		return "a replica is missing"
	case t.ReadyForReads:
		return "reads only"
	case t.ReadyForOutdatedReads:
		return "outdated reads only"
	}
	return "unavailable"
}

// Issue is a problem that the cluster itself sees.
type Issue struct {
	Type        string `rethinkdb:"type" json:"type"`
	Critical    bool   `rethinkdb:"critical" json:"critical"`
	Description string `rethinkdb:"description" json:"description"`
}

// Cluster is what one server sees of all.
type Cluster struct {
	Servers []Server
	Tables  []Table
	Issues  []Issue
}

// Cluster reads the state of all that the server is connected to.
func (s *Session) Cluster(ctx context.Context) (Cluster, error) {
	var c Cluster
	var err error
	if c.Servers, err = all[Server](ctx, s, system("server_status")); err != nil {
		return c, fmt.Errorf("ask for the servers: %w", err)
	}
	slices.SortFunc(c.Servers, func(a, b Server) int { return cmp.Compare(a.Name, b.Name) })
	if c.Tables, err = s.Tables(ctx); err != nil {
		return c, err
	}
	if c.Issues, err = all[Issue](ctx, s, system("current_issues")); err != nil {
		return c, fmt.Errorf("ask for current issues: %w", err)
	}
	for i := range c.Issues { // they are written in lines, for a page
		c.Issues[i].Description = strings.Join(strings.Fields(c.Issues[i].Description), " ")
	}
	return c, nil
}

// Tables reads all tables with their configuration and status, by name.
func (s *Session) Tables(ctx context.Context) ([]Table, error) {
	tables, err := all[Table](ctx, s, system("table_config"))
	if err != nil {
		return nil, fmt.Errorf("ask for the tables: %w", err)
	}
	type status struct {
		ID     string      `rethinkdb:"id"`
		Status TableStatus `rethinkdb:"status"`
	}
	states, err := all[status](ctx, s, system("table_status"))
	if err != nil {
		return nil, fmt.Errorf("ask for the tables' status: %w", err)
	}
	for i, t := range tables {
		if n := slices.IndexFunc(states, func(s status) bool { return s.ID == t.ID }); n >= 0 {
			tables[i].Status = states[n].Status
		}
	}
	slices.SortFunc(tables, func(a, b Table) int { return cmp.Compare(a.FullName(), b.FullName()) })
	return tables, nil
}

// Seen counts how many of the others the server is connected to.
func (c Cluster) Seen(server Server) int {
	n := 0
	for _, other := range c.Servers {
		if other.ID != server.ID && server.Network.ConnectedTo[other.Name] {
			n++
		}
	}
	return n
}

// Stragglers are the hosts that keep the cluster from being whole: those of
// which it has no server, and those whose server does not see all others.
func (c Cluster) Stragglers(hosts []string) []string {
	var apart []string
	for _, host := range hosts {
		i := slices.IndexFunc(c.Servers, func(s Server) bool { return s.Network.Hostname == host })
		if i < 0 || c.Seen(c.Servers[i]) < len(c.Servers)-1 {
			apart = append(apart, host)
		}
	}
	return apart
}

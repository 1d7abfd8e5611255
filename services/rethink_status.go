package services

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"skep/services/rethink"
	"skep/swarm"
)

// RethinkStatus is what `rethink status` prints.
type RethinkStatus struct {
	Env     string          `json:"env"`
	Stack   string          `json:"stack"`
	Servers []RethinkServer `json:"servers"`
	Tables  []RethinkTable  `json:"tables"`
	Issues  []rethink.Issue `json:"issues"`
	Ready   bool            `json:"ready"` // whole
	Missing string          `json:"missing,omitempty"`
}

// RethinkServer is one server, or the place of one that is not there.
type RethinkServer struct {
	Server
	Region    string `json:"region"`
	Version   string `json:"version"`
	Uptime    int    `json:"uptime_seconds"`
	Connected int    `json:"connected"` // to so many others
}

// RethinkTable is a table and whether all of its replicas are there.
type RethinkTable struct {
	DB       string `json:"db"`
	Name     string `json:"name"`
	Shards   int    `json:"shards"`
	Replicas int    `json:"replicas"` // of the shard that has the fewest
	rethink.TableStatus
}

// Status is the state of the cluster as the database itself sees it.
func (d RethinkDB) Status(ctx context.Context) (RethinkStatus, error) {
	status := RethinkStatus{Env: d.Name, Stack: RethinkName, Servers: []RethinkServer{}, Tables: []RethinkTable{}, Issues: []rethink.Issue{}}
	v, err := d.look(ctx)
	if err != nil {
		return status, err
	}
	late := v.stragglers()
	for _, t := range v.tasks {
		s := RethinkServer{Server: Server{Name: rethink.Name(t.Service + "_" + t.Node), Node: t.Node, Address: t.Address}, Region: v.regions[t.Node]}
		for _, found := range v.cluster.Servers {
			if found.Network.Hostname != hostname(t) {
				continue
			}
			s.Name, s.Version, s.Connected = found.Name, found.Process.Version, v.cluster.Seen(found)
			s.Uptime = int(time.Since(found.Process.Started).Seconds())
			s.Ready = !slices.ContainsFunc(late, func(l swarm.Task) bool { return l.Container == t.Container })
		}
		status.Servers = append(status.Servers, s)
	}
	for _, p := range v.absent {
		s := RethinkServer{Server: Server{Name: p.service, Node: p.node}, Region: v.regions[p.node]}
		if p.node != "" {
			s.Name = rethink.Name(p.service + "_" + p.node)
		}
		status.Servers = append(status.Servers, s)
	}
	slices.SortFunc(status.Servers, func(a, b RethinkServer) int { return cmp.Compare(a.Name, b.Name) })
	status.Missing = v.missing()
	status.Ready = status.Missing == "" && len(v.tasks) > 0
	for _, t := range v.cluster.Tables {
		row := RethinkTable{DB: t.DB, Name: t.Name, Shards: len(t.Shards), TableStatus: t.Status}
		for i, shard := range t.Shards {
			if n := len(shard.Replicas); i == 0 || n < row.Replicas {
				row.Replicas = n
			}
		}
		status.Tables = append(status.Tables, row)
		if status.Ready && !t.Status.AllReplicasReady {
			status.Ready, status.Missing = false, "table "+t.FullName()+": "+t.Status.String()
		}
	}
	if v.cluster.Issues != nil {
		status.Issues = v.cluster.Issues
	}
	return status, nil
}

// Scheme is how the admin UI is spoken to: http or https.
func (d RethinkDB) Scheme(ctx context.Context) (string, error) {
	manager, err := d.Env.Manager(ctx)
	if err != nil {
		return "", err
	}
	names, err := manager.StackServices(ctx, RethinkName)
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", errors.New("there is no service of " + RethinkName)
	}
	s, err := manager.Service(ctx, names[0])
	if err != nil {
		return "", err
	}
	if rethinkTLS(s).CA != "" {
		return "https", nil
	}
	return "http", nil
}

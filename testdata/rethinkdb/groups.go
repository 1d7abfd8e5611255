package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// groups are the tables that exist, each with the servers that hold copies of it. All documents of a table are led by
// one server at a time, its shards together.
type groups struct {
	mesh   *mesh
	nudged chan struct{}

	mu      sync.Mutex
	byTable map[string]*group
	leaders map[string]lead
}

// lead says who leads a table, since which epoch, or that an epoch is over. Without a server nobody is known to lead.
type lead struct {
	Table  string
	Epoch  uint64
	Server string
	Over   bool
}

const (
	lookEvery = 200 * time.Millisecond
	// patience is for a server that is connected and says nothing.
	patience = 10 * time.Second
)

func newGroups(m *mesh) *groups {
	return &groups{
		mesh: m, nudged: make(chan struct{}, 1),
		byTable: map[string]*group{}, leaders: map[string]lead{},
	}
}

func (g *groups) of(table string) *group {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.byTable[table]
	if one == nil {
		one = newGroup(g, table)
		g.byTable[table] = one
	}
	return one
}

func (g *groups) leader(table string) lead {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.leaders[table]
}

// heard takes in who leads a table. News come in any order: the later epoch is right, and one that is over stays so.
func (g *groups) heard(news lead) {
	g.mu.Lock()
	if known := g.leaders[news.Table]; news.Epoch > known.Epoch || news.Epoch == known.Epoch && !known.Over {
		g.leaders[news.Table] = news
	}
	g.mu.Unlock()
	g.nudge()
}

// announce tells all servers what this one does.
func (g *groups) announce(news lead) {
	g.heard(news)
	for _, l := range g.mesh.connected() {
		go l.tell(message{Leads: []lead{news}})
	}
}

// leads are those of this server.
func (g *groups) leads() []lead {
	g.mu.Lock()
	defer g.mu.Unlock()
	var own []lead
	for _, one := range g.leaders {
		if one.Server == g.mesh.store.serverID {
			own = append(own, one)
		}
	}
	return own
}

// gone is told of each connection that is lost.
func (g *groups) gone(serverID string) {
	g.mu.Lock()
	for table, one := range g.leaders {
		if one.Server == serverID {
			one.Server = ""
			g.leaders[table] = one
		}
	}
	known := slices.Collect(maps.Values(g.byTable))
	g.mu.Unlock()
	for _, one := range known {
		one.detach(serverID)
	}
	g.nudge()
}

// nudge makes run look at once.
func (g *groups) nudge() {
	select {
	case g.nudged <- struct{}{}:
	default: // it is about to look anyway
	}
}

// run does for every table what this server has to do now, until ctx is done.
func (g *groups) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		var ids []string
		for _, r := range g.mesh.store.records(kindTable) {
			ids = append(ids, r.ID)
			g.of(r.ID).decide(ctx)
		}
		g.drop(ids)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-g.nudged:
		}
	}
}

// drop forgets the tables that are no more, and their documents.
func (g *groups) drop(existing []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, one := range g.byTable {
		if slices.Contains(existing, id) {
			continue
		}
		if _, _, ok := g.mesh.store.table(id); ok { // it came since
			continue
		}
		delete(g.byTable, id)
		delete(g.leaders, id)
		if err := one.erase(); err != nil {
			g.mesh.log.Printf("error: could not erase table %s: %v", id, err)
		}
	}
}

// majority tells whether enough of a table's servers are there to decide anything: while its servers are being changed,
// of the old as of the new.
func (t tableRecord) majority(there func(serverID string) bool) bool {
	for _, set := range [][]string{t.voters(), t.Previous} {
		count := 0
		for _, id := range set {
			if there(id) {
				count++
			}
		}
		if len(set) > 0 && 2*count <= len(set) {
			return false
		}
	}
	return true
}

// covers tells whether a majority of t's servers is one of another's too: they are the same, or a change has ended since.
func (t tableRecord) covers(next tableRecord) bool {
	return sameSet(t.voters(), next.voters()) && (len(next.Previous) == 0 || sameSet(t.Previous, next.Previous))
}

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// group is one table as this server sees it: whom it promised to follow and, when it leads, who follows.
//
// A leader takes each write, keeps it, sends it to all others and acknowledges it when a majority has it on disk. Who
// wants to lead asks all for a promise to accept nothing of earlier leaders; with a majority's promises it takes the
// newest version of every document among them, and gives them what they lack, before it begins. So what was
// acknowledged lives on as long as a majority of the copies does. A server that was away gets what it missed before it
// counts as ready.
type group struct {
	groups *groups
	mesh   *mesh
	store  *store
	table  string

	mu       sync.Mutex
	promised uint64      // the epoch below which nothing is accepted; durable
	seen     uint64      // the highest epoch that others were found to have promised
	leading  uint64      // the epoch in which this server leads, 0 if it does not
	claimed  tableRecord // the servers of which a majority lets it lead
	seq      uint64
	attached map[string]bool // others that get all writes
	ready    map[string]bool // those of them that lack none
	busy     bool            // with a claim or a change of servers
}

const promisesBucket = "promises"

func newGroup(all *groups, table string) *group {
	g := &group{
		groups: all, mesh: all.mesh, store: all.mesh.store, table: table,
		attached: map[string]bool{}, ready: map[string]bool{},
	}
	if kept := g.store.journal.get(promisesBucket, table); kept != nil {
		g.promised = binary.BigEndian.Uint64(kept)
	}
	return g
}

func (g *group) erase() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leading = 0
	return g.store.journal.save(change{bucket: documentsOf(g.table)})
}

type claimRequest struct {
	Table  record
	Epoch  uint64
	Server string
}

type claimAnswer struct {
	Granted  bool
	Promised uint64
	Digest   []uint64
}

// promise answers a server that wants to lead.
func (g *group) promise(c *claimRequest) (*claimAnswer, error) {
	g.mesh.merge([]record{c.Table})
	if _, mine, ok := g.store.table(g.table); !ok || mine.newerThan(c.Table) {
		return nil, fmt.Errorf("table %s was changed", g.table)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.Epoch <= g.promised {
		return &claimAnswer{Promised: g.promised}, nil
	}
	if err := g.keepPromise(c.Epoch, c.Server); err != nil {
		return nil, err
	}
	return &claimAnswer{Granted: true, Promised: c.Epoch, Digest: g.store.digest(g.table)}, nil
}

func (g *group) keepPromise(epoch uint64, server string) error {
	if g.leading > 0 && server != g.store.serverID {
		go g.groups.announce(lead{Table: g.table, Epoch: g.leading, Over: true})
	}
	g.promised, g.leading = epoch, 0
	return g.store.journal.save(change{promisesBucket, entry{g.table, binary.BigEndian.AppendUint64(nil, epoch)}})
}

type applyRequest struct {
	Table     string
	Epoch     uint64
	Documents []document
}

// accept keeps what a leader writes, unless a later one was promised to.
func (g *group) accept(a *applyRequest) error {
	position, err := func() (uint64, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if a.Epoch < g.promised {
			return 0, errNotLeader
		}
		if a.Epoch > g.promised {
			if err := g.keepPromise(a.Epoch, ""); err != nil {
				return 0, err
			}
		}
		return g.store.putDocuments(g.table, a.Documents)
	}()
	if err != nil {
		return err
	}
	return g.store.journal.sync(position)
}

type stateAnswer struct {
	Leading         bool
	Attached, Ready []string
}

func (g *group) state() *stateAnswer {
	g.mu.Lock()
	defer g.mu.Unlock()
	return &stateAnswer{
		Leading:  g.leading > 0,
		Attached: slices.Sorted(maps.Keys(g.attached)),
		Ready:    slices.Sorted(maps.Keys(g.ready)),
	}
}

// decide begins what this server has to do for the table now; nothing of it holds up the caller.
func (g *group) decide(ctx context.Context) {
	t, _, ok := g.store.table(g.table)
	if !ok {
		return
	}
	self := g.store.serverID
	g.mu.Lock()
	leading, busy, claimed := g.leading, g.busy, g.claimed
	g.mu.Unlock()
	candidates := unique(append(t.voters(), t.Previous...))
	switch {
	case busy:
	case leading == 0:
		leader := g.groups.leader(g.table).Server
		first := slices.IndexFunc(candidates, g.mesh.reaches)
		if (leader == "" || leader == self) && first >= 0 && candidates[first] == self && t.majority(g.mesh.reaches) {
			g.inBackground(ctx, g.claim)
		}
	case !t.majority(g.mesh.reaches), len(t.Previous) == 0 && !slices.Contains(t.voters(), self):
		g.stepDown(leading)
	case !claimed.covers(t):
		g.inBackground(ctx, g.claim)
	default:
		g.lead(ctx, t)
	}
}

// begin keeps claims and changes of servers apart.
func (g *group) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	begun := !g.busy
	g.busy = true
	return begun
}

func (g *group) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = false
}

func (g *group) inBackground(ctx context.Context, do func(context.Context) error) {
	go func() {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			g.mesh.log.Printf("warn: table %s: %v", g.table, err)
		}
	}()
}

func (g *group) stepDown(epoch uint64) {
	g.mu.Lock()
	stepped := g.leading == epoch && epoch > 0
	if stepped {
		g.leading = 0
	}
	g.mu.Unlock()
	if stepped {
		g.groups.announce(lead{Table: g.table, Epoch: epoch, Over: true})
	}
}

// lead brings servers that came back up to date, ends a change of servers, and hands over to the configured primary.
func (g *group) lead(ctx context.Context, t tableRecord) {
	self := g.store.serverID
	g.mu.Lock()
	ready := maps.Clone(g.ready)
	var behind []string
	for _, id := range t.members() {
		if id != self && !g.attached[id] && g.mesh.reaches(id) {
			g.attached[id] = true
			behind = append(behind, id)
		}
	}
	g.mu.Unlock()
	for _, id := range behind {
		g.inBackground(ctx, func(ctx context.Context) error { return g.catchUp(ctx, id) })
	}
	all := func(ids []string) bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return id != self && !ready[id] })
	}
	primary := t.voters()[0]
	switch {
	case len(t.Previous) > 0 && all(t.replicas()):
		g.inBackground(ctx, g.settle)
	case len(t.Previous) == 0 && primary != self && ready[primary]:
		g.inBackground(ctx, func(ctx context.Context) error {
			_, err := g.mesh.call(ctx, primary, request{Handover: &g.table})
			return err
		})
	}
}

// detach is for a server that was lost, or that a write did not reach: it has to catch up.
func (g *group) detach(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.attached, id)
	delete(g.ready, id)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// claim makes this server the leader if a majority lets it.
func (g *group) claim(ctx context.Context) error {
	if !g.begin() {
		return nil
	}
	defer g.end()
	return g.claimAlone(ctx)
}

func (g *group) claimAlone(ctx context.Context) error {
	t, config, ok := g.store.table(g.table)
	if !ok {
		return nil
	}
	g.mu.Lock()
	epoch, before := max(g.promised, g.seen)+1, g.leading
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		lost := before > 0 && g.leading == 0
		g.mu.Unlock()
		if lost {
			g.groups.announce(lead{Table: g.table, Epoch: before, Over: true})
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()

	promises := g.ask(ctx, unique(append(t.voters(), t.Previous...)), &claimRequest{config, epoch, g.store.serverID})
	granted := func(id string) bool { return promises[id] != nil }
	if !t.majority(granted) {
		return nil // someone else goes before; it is tried again
	}
	followers, err := g.level(ctx, t, epoch, promises)
	if err != nil {
		return err
	}
	g.mu.Lock()
	begun := g.promised == epoch
	if begun {
		g.leading, g.claimed, g.seq = epoch, t, 0
		g.attached, g.ready = map[string]bool{}, map[string]bool{}
		for _, id := range followers {
			g.attached[id], g.ready[id] = true, true
		}
	}
	g.mu.Unlock()
	if begun {
		g.groups.announce(lead{Table: g.table, Epoch: epoch, Server: g.store.serverID})
	}
	return nil
}

// ask collects promises: the digest of each server that gave one.
func (g *group) ask(ctx context.Context, servers []string, claim *claimRequest) map[string][]uint64 {
	var mu sync.Mutex
	promises := map[string][]uint64{}
	highest := uint64(0)
	var asked sync.WaitGroup
	for _, id := range servers {
		asked.Go(func() {
			answer, err := g.mesh.call(ctx, id, request{Claim: claim})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || answer.Claim == nil {
				return
			}
			highest = max(highest, answer.Claim.Promised)
			if answer.Claim.Granted {
				promises[id] = answer.Claim.Digest
			}
		})
	}
	asked.Wait()
	g.mu.Lock()
	g.seen = max(g.seen, highest)
	g.mu.Unlock()
	return promises
}

// level gives this server and a majority of the others the newest versions that any of them has, and returns the others.
func (g *group) level(ctx context.Context, t tableRecord, epoch uint64, promises map[string][]uint64) ([]string, error) {
	self := g.store.serverID
	theirs := map[string][]document{}
	differing := map[string][]uint64{}
	for id, digest := range promises {
		if id == self {
			continue
		}
		differing[id] = differences(promises[self], digest)
		documents, err := g.pull(ctx, id, differing[id])
		if err != nil {
			return nil, fmt.Errorf("copy from %s: %w", id, err)
		}
		theirs[id] = documents
	}
	if err := g.adopt(theirs); err != nil {
		return nil, err
	}
	var followers []string
	for id := range theirs {
		// What came from one server may be in slots in which another had no difference before.
		now, err := g.mesh.call(ctx, id, request{Digest: &g.table})
		if err == nil {
			err = g.push(ctx, id, epoch, differences(g.store.digest(g.table), now.Digest))
		}
		if err == nil {
			followers = append(followers, id)
		}
	}
	if !t.majority(func(id string) bool { return id == self || slices.Contains(followers, id) }) {
		return nil, errors.New("lost the majority before it could lead")
	}
	return followers, nil
}

func (g *group) adopt(theirs map[string][]document) error {
	g.mu.Lock()
	position := g.store.journal.position()
	var err error
	for _, documents := range theirs {
		if position, err = g.store.putDocuments(g.table, documents); err != nil {
			break
		}
	}
	g.mu.Unlock()
	if err != nil {
		return err
	}
	return g.store.journal.sync(position)
}

func differences(a, b []uint64) []uint64 {
	var found []uint64
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			found = append(found, uint64(i))
		}
	}
	return found
}

type pullRequest struct {
	Table string
	Slots []uint64
}

func (g *group) pull(ctx context.Context, from string, slots []uint64) ([]document, error) {
	if len(slots) == 0 {
		return nil, nil
	}
	answer, err := g.mesh.call(ctx, from, request{Pull: &pullRequest{g.table, slots}})
	return answer.Pull, err
}

const pushedAtOnce = 1 << 20 // bytes

// push sends the documents of some slots. What the other has newer it keeps.
func (g *group) push(ctx context.Context, to string, epoch uint64, slots []uint64) error {
	if len(slots) == 0 {
		return nil
	}
	all := g.store.inSlots(g.table, slots)
	for len(all) > 0 {
		n, size := 0, 0
		for n < len(all) && size < pushedAtOnce {
			size += len(all[n].JSON) + len(all[n].Key)
			n++
		}
		if _, err := g.mesh.call(ctx, to, request{Apply: &applyRequest{g.table, epoch, all[:n]}}); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// catchUp gives a server that was attached just now what it missed. What it has newer, a write of an earlier leader that
// reached nobody else, is taken over as a new write.
func (g *group) catchUp(ctx context.Context, id string) (err error) {
	g.mu.Lock()
	epoch := g.leading
	g.mu.Unlock()
	defer func() {
		if err != nil {
			g.detach(id)
		}
	}()
	if epoch == 0 {
		return errNotLeader
	}
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	digest, err := g.mesh.call(ctx, id, request{Digest: &g.table})
	if err != nil {
		return err
	}
	slots := differences(g.store.digest(g.table), digest.Digest)
	theirs, err := g.pull(ctx, id, slots)
	if err != nil {
		return err
	}
	if err := g.push(ctx, id, epoch, slots); err != nil {
		return err
	}
	if err := g.takeOver(ctx, theirs); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leading == epoch && g.attached[id] {
		g.ready[id] = true
		g.groups.nudge()
	}
	return nil
}

func (g *group) takeOver(ctx context.Context, theirs []document) error {
	return g.commit(ctx, func() ([]document, error) {
		var newer []document
		for _, d := range theirs {
			if mine, ok := g.store.document(g.table, d.Key); !ok || d.At.compare(mine.At) > 0 {
				newer = append(newer, d)
			}
		}
		return newer, nil
	})
}

type changeRequest struct {
	Table  string
	Shards []shard
}

// change gives the table to other servers: they get all of it first, then a majority of the old and of the new must
// agree on everything, and in the end only of the new.
func (g *group) change(ctx context.Context, c *changeRequest) error {
	if !g.begin() {
		return errNotLeader // not yet
	}
	defer g.end()
	t, _, ok := g.store.table(g.table)
	g.mu.Lock()
	epoch := g.leading
	var added []string
	next := tableRecord{Shards: c.Shards}
	for _, id := range next.replicas() {
		if id != g.store.serverID && !g.ready[id] {
			g.attached[id] = true
			added = append(added, id)
		}
	}
	g.mu.Unlock()
	if !ok || epoch == 0 {
		return errNotLeader
	}
	if len(t.Previous) > 0 {
		return &queryError{opFailed, "The table is being reconfigured; try again when it is ready."}
	}
	for _, id := range added {
		if err := g.catchUp(ctx, id); err != nil {
			return fmt.Errorf("copy the table to %s: %w", g.store.server(id).Name, err)
		}
	}
	before := t.voters()
	t.Shards = c.Shards
	if after := t.voters(); !sameSet(before, after) {
		t.Previous = before
	}
	r, err := g.store.next(kindTable, g.table, t)
	if err != nil {
		return err
	}
	if err := g.mesh.publish(ctx, r); err != nil {
		return err
	}
	if err := g.claimAlone(ctx); err != nil {
		return err
	}
	return g.settle(ctx)
}

// settle ends a change when every server of the table is ready.
func (g *group) settle(ctx context.Context) error {
	t, _, ok := g.store.table(g.table)
	if !ok || len(t.Previous) == 0 {
		return nil
	}
	g.mu.Lock()
	done := g.leading > 0
	for _, id := range t.replicas() {
		done = done && (id == g.store.serverID || g.ready[id])
	}
	g.mu.Unlock()
	if !done {
		return nil // it is tried again
	}
	t.Previous = nil
	r, err := g.store.next(kindTable, g.table, t)
	if err != nil {
		return err
	}
	return g.mesh.publish(ctx, r)
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(one string) bool { return !slices.Contains(b, one) })
}

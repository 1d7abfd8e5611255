package main

import (
	"context"
	"errors"
)

// commit makes documents new versions and returns when a majority has them on disk. What they are is worked out while
// no other write changes anything. The copies are written at the same time, this server's among them.
func (g *group) commit(ctx context.Context, decide func() ([]document, error)) error {
	t, _, ok := g.store.table(g.table)
	g.mu.Lock()
	epoch := g.leading
	if !ok || epoch == 0 {
		g.mu.Unlock()
		return errNotLeader
	}
	documents, err := decide()
	position := uint64(0)
	if err == nil && len(documents) > 0 {
		for i := range documents {
			g.seq++
			documents[i].At = stamp{epoch, g.seq}
		}
		position, err = g.store.putDocuments(g.table, documents)
	}
	var others []string
	for id := range g.attached {
		others = append(others, id)
	}
	g.mu.Unlock()
	if err != nil || len(documents) == 0 {
		return err
	}
	return g.replicate(ctx, t, &applyRequest{g.table, epoch, documents}, position, others)
}

type acknowledgement struct {
	id  string
	err error
}

// replicate waits for a majority. The others are waited for by nobody, but one that fails is detached.
func (g *group) replicate(ctx context.Context, t tableRecord, a *applyRequest, position uint64, others []string) error {
	acknowledged := make(chan acknowledgement, len(others)+1)
	go func() { acknowledged <- acknowledgement{g.store.serverID, g.store.journal.sync(position)} }()
	for _, id := range others {
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			_, err := g.mesh.call(ctx, id, request{Apply: a})
			if err != nil {
				g.detach(id)
			}
			acknowledged <- acknowledgement{id, err}
		}()
	}
	have := map[string]bool{}
	for range len(others) + 1 {
		one := <-acknowledged
		if failureOf(one.err) == notLeader && one.err != nil {
			g.stepDown(a.Epoch) // it follows a later leader
		}
		have[one.id] = one.err == nil
		if one.err == nil && t.majority(func(id string) bool { return have[id] }) {
			return nil
		}
	}
	return &queryError{opIndeterminate, "Cannot perform write: The primary replica lost contact with the secondary replicas. " +
		"The write may or may not have been performed."}
}

// confirm returns when a majority still follows: what was read after that was the newest.
func (g *group) confirm(ctx context.Context) error {
	t, _, ok := g.store.table(g.table)
	g.mu.Lock()
	epoch := g.leading
	var others []string
	for id := range g.attached {
		others = append(others, id)
	}
	g.mu.Unlock()
	if !ok || epoch == 0 {
		return errNotLeader
	}
	err := g.replicate(ctx, t, &applyRequest{Table: g.table, Epoch: epoch}, g.store.journal.position(), others)
	if failed := new(queryError); errors.As(err, &failed) {
		return &queryError{opFailed, "Cannot perform read: The primary replica lost contact with the secondary replicas."}
	}
	return err
}

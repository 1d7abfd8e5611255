package main

import (
	"context"
	"log"
	"slices"
	"sync"
	"time"
)

// initialJoin connects to the servers named with --join when this one starts. Any connection ends the wait, whoever made
// it, also one from a server that was not named. The others are then tried for five more seconds, and given up.
type initialJoin struct {
	mesh *mesh
	log  *log.Logger

	mu      sync.Mutex
	missing []address
	first   sync.Once
	met     chan struct{} // closed with the first connection
}

const (
	firstRetry  = 200 * time.Millisecond // and half as long again each time
	longestWait = 15 * time.Second
	gracePeriod = 5 * time.Second
)

func newInitialJoin(m *mesh, peers []address) *initialJoin {
	j := &initialJoin{mesh: m, log: m.log, missing: peers, met: make(chan struct{})}
	m.onLink = j.linked
	return j
}

// run returns when the server may go on: with the first connection, or when no peer is left to wait for because all were
// this server itself. Without either it returns only when ctx is done.
func (j *initialJoin) run(ctx context.Context) {
	j.dropSelf()
	given := make(chan struct{})
	go func() {
		defer close(given)
		j.retry(ctx)
	}()
	select {
	case <-j.met:
	case <-given:
	}
}

// dropSelf removes the peers that have an address of this server. One with other addresses besides goes as a whole.
func (j *initialJoin) dropSelf() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := j.mesh.self.match(j.missing); i >= 0; i = j.mesh.self.match(j.missing) {
		j.missing = slices.Delete(j.missing, i, i+1)
		j.log.Print("warn: Attempted to join self, peer ignored")
	}
	j.log.Printf("Attempting connection to %d peer(s)...", len(j.missing))
}

func (j *initialJoin) retry(ctx context.Context) {
	met, graceOver := j.met, (<-chan time.Time)(nil)
	for wait := firstRetry; len(j.left()) > 0; wait = min(wait+wait/2, longestWait) {
		for _, peer := range j.left() {
			go j.mesh.join(ctx, peer, expectation{})
		}
		for again := time.After(wait); again != nil; {
			select {
			case <-ctx.Done():
				return
			case <-again:
				again = nil
			case <-met:
				met, graceOver = nil, time.After(gracePeriod)
			case <-graceOver:
				j.giveUp()
				return
			}
		}
	}
}

func (j *initialJoin) giveUp() {
	for _, peer := range j.left() {
		j.log.Printf("warn: We were unable to connect to %s, or it calls itself by another address", peer.names[0])
	}
}

func (j *initialJoin) left() []address {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.missing)
}

func (j *initialJoin) linked(peer address) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if i := peer.match(j.missing); i >= 0 {
		j.missing = slices.Delete(j.missing, i, i+1)
	}
	j.first.Do(func() { close(j.met) })
}

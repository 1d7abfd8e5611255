package main

import (
	"context"
	"errors"
	"slices"
	"time"
)

// table is what queries read and write: one of documents, or one that shows the cluster's own state.
type table interface {
	name() string
	primaryKey() string
	// read returns documents as scanRequest says.
	read(ctx context.Context, r scanRequest) (*scanAnswer, error)
	write(ctx context.Context, w writeRequest) (*writeAnswer, error)
}

// documentTable is read and written at its leader, wherever that is.
type documentTable struct {
	mesh   *mesh
	id     string
	config tableRecord
	mode   readMode
}

func (d *documentTable) name() string       { return d.config.Name }
func (d *documentTable) primaryKey() string { return d.config.PrimaryKey }

func (d *documentTable) read(ctx context.Context, r scanRequest) (*scanAnswer, error) {
	r.Table, r.Mode = d.id, d.mode
	if d.mode == outdated {
		answer, err := d.readAnywhere(ctx, r)
		return answer.Scan, err
	}
	answer, err := d.atLeader(ctx, "read", request{Scan: &r})
	return answer.Scan, err
}

// readAnywhere reads from this server if it has a copy, else from any that has.
func (d *documentTable) readAnywhere(ctx context.Context, r scanRequest) (response, error) {
	replicas := d.config.replicas()
	slices.SortStableFunc(replicas, func(a, b string) int {
		switch d.mesh.store.serverID {
		case a:
			return -1
		case b:
			return 1
		}
		return 0
	})
	for _, id := range replicas {
		if answer, err := d.mesh.call(ctx, id, request{Scan: &r}); !errors.Is(err, errLinkLost) {
			return answer, err
		}
	}
	return response{}, &queryError{opFailed, "Cannot perform read: no replicas available"}
}

// writtenAtOnce is how many documents go to the leader in one request.
const writtenAtOnce = 1000

func (d *documentTable) write(ctx context.Context, w writeRequest) (*writeAnswer, error) {
	w.Table, w.PrimaryKey = d.id, d.primaryKey()
	total := &writeAnswer{}
	for keys, texts := w.Keys, w.JSON; len(keys) > 0; {
		n := min(len(keys), writtenAtOnce)
		w.Keys, keys = keys[:n], keys[n:]
		if w.Kind == inserting {
			w.JSON, texts = texts[:n], texts[n:]
		}
		answer, err := d.atLeader(ctx, "write", request{Write: &w})
		if err != nil {
			return nil, err
		}
		total.add(answer.Write)
	}
	return total, nil
}

// leadershipMoves is how long a leader may take to hand over to another that it has named.
const leadershipMoves = time.Second

// atLeader asks the leader. Where there is none the query fails at once, as with the real server.
func (d *documentTable) atLeader(ctx context.Context, what string, q request) (response, error) {
	giveUp := time.Now().Add(leadershipMoves)
	for {
		leader := d.mesh.groups.leader(d.id).Server
		if leader == "" || !d.mesh.reaches(leader) {
			return response{}, &queryError{opFailed, "Cannot perform " + what + `: primary replica for shard ["", +inf) not available`}
		}
		answer, err := d.mesh.call(ctx, leader, q)
		switch {
		case err == nil:
			return answer, nil
		case errors.Is(err, errLinkLost) && q.Write != nil:
			return answer, &queryError{opIndeterminate, "Cannot perform write: lost contact with primary replica"}
		case errors.Is(err, errLinkLost):
			return answer, &queryError{opFailed, "Cannot perform " + what + ": lost contact with primary replica"}
		case !errors.Is(err, errNotLeader):
			return answer, err
		case time.Now().After(giveUp):
			return answer, &queryError{opFailed, "Cannot perform " + what + `: primary replica for shard ["", +inf) not available`}
		}
		select {
		case <-ctx.Done():
			return answer, ctx.Err()
		case <-time.After(20 * time.Millisecond): // until it is known who leads now
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
)

// message is what servers say once they are connected. An empty one is a heartbeat.
type message struct {
	Records  []record
	Leads    []lead
	Request  *request
	Response *response
}

// request has one of its questions set.
type request struct {
	ID       uint64
	Records  []record // to be merged before the answer
	Scan     *scanRequest
	Write    *writeRequest
	Claim    *claimRequest
	Apply    *applyRequest
	Digest   *string // of a table
	Pull     *pullRequest
	State    *string // of a table
	Handover *string // of a table
	Change   *changeRequest
	Status   bool
}

type response struct {
	ID      uint64
	Failed  string
	Kind    failure // of Failed
	Scan    *scanAnswer
	Write   *writeAnswer
	Claim   *claimAnswer
	Digest  []uint64
	Pull    []document
	State   *stateAnswer
	Status  []byte // JSON
	Applied bool
}

var errLinkLost = errors.New("the connection to the server was lost")

// call asks another server, or this one. It returns an error of the remote side as that side meant it.
func (m *mesh) call(ctx context.Context, serverID string, question request) (response, error) {
	if serverID == m.store.serverID {
		return unwrap(m.serve(ctx, &question))
	}
	m.mu.Lock()
	l := m.links[serverID]
	m.mu.Unlock()
	if l == nil {
		return response{}, errLinkLost
	}
	return unwrap(l.ask(ctx, question))
}

func unwrap(answer response, err error) (response, error) {
	if err == nil && answer.Failed != "" {
		err = &queryError{answer.Kind, answer.Failed}
	}
	return answer, err
}

func (l *link) ask(ctx context.Context, question request) (response, error) {
	answered := make(chan response, 1)
	l.asking.Lock()
	l.lastID++
	question.ID = l.lastID
	l.asked[question.ID] = answered
	l.asking.Unlock()
	defer func() {
		l.asking.Lock()
		delete(l.asked, question.ID)
		l.asking.Unlock()
	}()
	if l.send(message{Request: &question}) != nil {
		l.conn.Close()
		return response{}, errLinkLost
	}
	select {
	case answer := <-answered:
		return answer, nil
	case <-l.gone:
		return response{}, errLinkLost
	case <-ctx.Done():
		return response{}, fmt.Errorf("no answer from server %s: %w", l.peer.Name, ctx.Err())
	}
}

func (l *link) answered(answer response) {
	l.asking.Lock()
	defer l.asking.Unlock()
	if to, ok := l.asked[answer.ID]; ok {
		to <- answer // has room, and gets one
		delete(l.asked, answer.ID)
	}
}

// reply answers a question of the peer.
func (m *mesh) reply(ctx context.Context, l *link, question *request) {
	answer, err := m.serve(ctx, question)
	if err != nil {
		answer = response{Failed: err.Error(), Kind: failureOf(err)}
	}
	answer.ID = question.ID
	if l.send(message{Response: &answer}) != nil {
		l.conn.Close()
	}
}

// serve answers a question of another server or of this one.
func (m *mesh) serve(ctx context.Context, q *request) (a response, err error) {
	switch {
	case q.Records != nil:
		m.merge(q.Records)
	case q.Status:
		a.Status, err = m.ownStatus()
	case q.Scan != nil:
		a.Scan, err = m.groups.of(q.Scan.Table).scan(ctx, q.Scan)
	case q.Write != nil:
		a.Write, err = m.groups.of(q.Write.Table).write(ctx, q.Write)
	case q.Claim != nil:
		a.Claim, err = m.groups.of(q.Claim.Table.ID).promise(q.Claim)
	case q.Apply != nil:
		a.Applied, err = true, m.groups.of(q.Apply.Table).accept(q.Apply)
	case q.Digest != nil:
		a.Digest = m.store.digest(*q.Digest)
	case q.Pull != nil:
		a.Pull = m.store.inSlots(q.Pull.Table, q.Pull.Slots)
	case q.State != nil:
		a.State = m.groups.of(*q.State).state()
	case q.Handover != nil:
		err = m.groups.of(*q.Handover).claim(ctx)
	case q.Change != nil:
		err = m.groups.of(q.Change.Table).change(ctx, q.Change)
	}
	return a, err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

const protocol = "skep-test rethinkdb cluster 2"

// hello is the first thing that each side of a connection says.
type hello struct {
	Protocol    string
	PeerID      string
	ServerID    string
	Name        string
	HasPassword bool
	Addresses   []hostPort
}

// expectation is what the side that connects wants to find at the other end. All of it is empty for a connection that
// comes in.
type expectation struct {
	address  *address
	peerID   string                  // of a server heard of from a peer
	serverID string                  // of a server that was lost
	met      *atomic.Bool            // set when one of several connections to the same server came about
	onOther  func(ip netip.AddrPort) // told that another server lives at that address now
}

var (
	errOtherServer = errors.New("another server answers there")
	errTurnedAway  = errors.New("turned away")
)

// handle goes through the handshake and then serves the connection until it breaks.
func (m *mesh) handle(ctx context.Context, conn net.Conn, want expectation) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// The real server sets no time limit here, and waits for good for a peer that connects and says nothing.
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return err
	}
	l := newLink(conn, m.log)
	if err := m.exchangeHellos(l); err != nil {
		return err
	}
	if l.peer.PeerID == m.peerID { // ourselves, at an address that some other server has too
		return errTurnedAway
	}
	if l.peer.ServerID == m.store.identity().ServerID {
		m.log.Printf("warn: Rejected a connection from %s: it has our own server id", l.remote)
		return errTurnedAway
	}
	if !m.claim(l.peer.ServerID) {
		m.log.Printf("Rejected a connection from server %s since one is open already.", l.peer.ServerID)
		return errTurnedAway
	}
	defer m.release(l.peer.ServerID)
	if err := m.agree(l); err != nil {
		return err
	}
	if err := m.check(ctx, l, want); err != nil {
		return err
	}
	mine := m.route(l.peer.PeerID, l.peer.Addresses)
	defer m.unroute(l.peer.PeerID)
	var theirs map[string][]hostPort
	if err := errors.Join(l.send(mine), l.receive(&theirs)); err != nil {
		return err
	}
	if want.met != nil && want.met.Swap(true) {
		return errTurnedAway
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	m.meet(ctx, theirs)
	m.keep(ctx, l)
	return nil
}

func (m *mesh) exchangeHellos(l *link) error {
	self := m.store.identity()
	err := l.send(hello{
		Protocol: protocol, PeerID: m.peerID, ServerID: self.ServerID, Name: self.Name,
		HasPassword: m.store.hasPassword(), Addresses: m.self.names,
	})
	if err != nil {
		return err
	}
	err = l.receive(&l.peer)
	network := net.Error(nil)
	if err != nil && !errors.As(err, &network) && !errors.Is(err, io.EOF) || err == nil && l.peer.Protocol != protocol {
		m.log.Printf("warn: %s does not speak the cluster protocol; is something connecting to the wrong port?", l.remote)
		return errTurnedAway
	}
	return err
}

// agree refuses a peer that has a password for admin when this server has none: it would open the door to that cluster.
// Any password will do; that is what `--initial-password auto` is for. Both sides say what they make of the other.
func (m *mesh) agree(l *link) error {
	type verdict struct{ Refused string }
	var mine, theirs verdict
	if l.peer.HasPassword && !m.store.hasPassword() {
		mine.Refused = "the remote server has an admin password, this one has none; try --initial-password auto"
		m.log.Printf("warn: Connection attempt from %s failed: %s", l.remote, mine.Refused)
	}
	if err := errors.Join(l.send(mine), l.receive(&theirs)); err != nil {
		return err
	}
	if theirs.Refused != "" {
		m.log.Printf("warn: Remote server %s refused to connect with us: %s", l.remote, theirs.Refused)
	}
	if mine != (verdict{}) || theirs != (verdict{}) {
		return errTurnedAway
	}
	return nil
}

// check looks up the names that the peer goes by and compares what was expected.
func (m *mesh) check(ctx context.Context, l *link, want expectation) (err error) {
	if l.address, err = lookUp(ctx, l.peer.Addresses); err != nil {
		m.log.Printf("error: Connected to peer with unresolvable hostname, closing connection: %v", err)
		return err
	}
	wrong := ""
	switch {
	case want.serverID != "" && l.peer.ServerID != want.serverID:
		return errOtherServer
	case want.peerID != "" && l.peer.PeerID != want.peerID:
		wrong = "wrong ID"
	case want.address != nil && !want.address.sameServer(l.address):
		wrong = fmt.Sprintf("wrong address: expected one of %v, it has %v", want.address.ips, l.address.ips)
	default:
		return nil
	}
	m.log.Printf("error: Received inconsistent routing information (%s) from %s, closing connection.", wrong, l.remote)
	return errTurnedAway
}

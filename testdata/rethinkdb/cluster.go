package main

import (
	"context"
	"errors"
	"log"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// mesh is this server's part of the cluster: one connection to every other server, made by whoever knows the other
// first. When two servers meet, each tells the other whom it is connected to, and each connects once to those it did
// not know. That is all the gossip there is: a connection that fails then is not tried again by it.
type mesh struct {
	config  *config
	store   *store
	log     *log.Logger
	started time.Time
	peerID  string  // of this process; another one after every start
	self    address // what the others are told to call us

	lost   *reconnector
	groups *groups
	onLink func(address) // told of every new connection, whichever side made it

	mu       sync.Mutex
	routes   map[string][]hostPort // by peer id, of this server and of those with a connection
	servers  map[string]bool       // server ids that have a connection, or one in the making
	links    map[string]*link      // by server id
	attempts map[string]bool       // addresses being connected to, or connected by us
}

func newMesh(config *config, store *store, logger *log.Logger) *mesh {
	m := &mesh{
		config: config, store: store, log: logger,
		started: time.Now(), peerID: newUUID(),
		onLink: func(address) {},
		routes: map[string][]hostPort{}, servers: map[string]bool{},
		links: map[string]*link{}, attempts: map[string]bool{},
	}
	m.lost = newReconnector(m)
	m.groups = newGroups(m)
	return m
}

// advertise settles once what the others are told: the canonical addresses if there are any, else all local ones.
func (m *mesh) advertise(ctx context.Context) error {
	names := m.config.canonical
	if len(names) == 0 {
		ips := m.config.clusterBind
		if ips == nil {
			var err error
			if ips, err = localAddresses(); err != nil {
				return err
			}
		}
		for _, ip := range ips {
			names = append(names, hostPort{ip.String(), m.config.clusterPort})
		}
	}
	var err error
	m.self, err = lookUp(ctx, names)
	m.routes[m.peerID] = names
	return err
}

func (m *mesh) start(ctx context.Context, listeners []net.Listener) {
	for _, listener := range listeners {
		go accept(ctx, listener, func(conn net.Conn) { _ = m.handle(ctx, conn, expectation{}) })
	}
}

// join connects to a server at one of the addresses it is known by, and returns when that connection is over or none
// came about. The next address gets its turn when the one before has failed, or after a second. While a join to an
// address goes on, another one to the same does nothing.
func (m *mesh) join(ctx context.Context, to address, want expectation) {
	key := attemptKey(to)
	m.mu.Lock()
	busy := m.attempts[key]
	m.attempts[key] = true
	m.mu.Unlock()
	if busy {
		return
	}
	defer func() {
		m.mu.Lock()
		delete(m.attempts, key)
		m.mu.Unlock()
	}()

	want.address, want.met = &to, new(atomic.Bool)
	turn := make(chan struct{}, len(to.ips)+1) // room for every turn that nobody waited for
	turn <- struct{}{}
	var tries sync.WaitGroup
	for i, ip := range to.ips {
		tries.Go(func() {
			defer func() { turn <- struct{}{} }()
			select {
			case <-turn:
			case <-time.After(time.Duration(i) * time.Second):
			case <-ctx.Done():
				return
			}
			if !want.met.Load() {
				m.try(ctx, ip, want)
			}
		})
	}
	tries.Wait()
}

func attemptKey(to address) string {
	var key []string
	for _, ip := range to.ips {
		key = append(key, ip.String())
	}
	return strings.Join(key, " ")
}

// try has no time limit but the kernel's, like the real server.
func (m *mesh) try(ctx context.Context, ip netip.AddrPort, want expectation) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", ip.String())
	if err != nil {
		return
	}
	if errors.Is(m.handle(ctx, m.config.clusterTLS.dialled(conn), want), errOtherServer) && want.onOther != nil {
		want.onOther(ip)
	}
}

// meet connects to the servers that a new peer knows and we do not.
func (m *mesh) meet(ctx context.Context, theirs map[string][]hostPort) {
	for peerID, names := range theirs {
		m.mu.Lock()
		_, known := m.routes[peerID]
		m.mu.Unlock()
		if known {
			continue
		}
		go func() {
			to, err := lookUp(ctx, names)
			if err != nil {
				m.log.Printf("error: Informed of peer with unresolvable hostname: %v", err)
				return
			}
			m.join(ctx, to, expectation{peerID: peerID})
		}()
	}
}

// claim takes the place of the one connection that a server may have. A server that comes back before its old connection
// was found dead is turned away until then.
func (m *mesh) claim(serverID string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.servers[serverID] {
		return false
	}
	m.servers[serverID] = true
	return true
}

func (m *mesh) release(serverID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.servers, serverID)
}

// route adds a peer to the routing table and returns the table as it was before.
func (m *mesh) route(peerID string, names []hostPort) (before map[string][]hostPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before = maps.Clone(m.routes)
	m.routes[peerID] = names
	return before
}

func (m *mesh) unroute(peerID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.routes, peerID)
}

// keep serves an established connection until it breaks.
func (m *mesh) keep(ctx context.Context, l *link) {
	m.mu.Lock()
	m.links[l.peer.ServerID] = l
	m.mu.Unlock()
	m.log.Printf("Connected to server %q %s", l.peer.Name, l.peer.ServerID)
	m.onLink(l.address)
	m.lost.found(l.peer.ServerID)

	go l.tell(message{Records: m.store.allRecords(), Leads: m.groups.leads()})
	m.groups.nudge()
	l.run(func(said message) { m.hear(ctx, l, said) })

	m.mu.Lock()
	delete(m.links, l.peer.ServerID)
	m.mu.Unlock()
	m.log.Printf("Disconnected from server %q %s", l.peer.Name, l.peer.ServerID)
	m.groups.gone(l.peer.ServerID)
	if ctx.Err() == nil {
		m.lost.look(ctx, l.peer.ServerID, l.address)
	}
}

// hear takes in what a peer says. Only a question takes time, and has it.
func (m *mesh) hear(ctx context.Context, l *link, said message) {
	if said.Records != nil {
		m.merge(said.Records)
	}
	for _, one := range said.Leads {
		m.groups.heard(one)
	}
	if said.Request != nil {
		go m.reply(ctx, l, said.Request)
	}
}

// merge takes in records and passes on what was new.
func (m *mesh) merge(records []record) {
	news, err := m.store.merge(records)
	if err != nil {
		m.log.Printf("error: could not save the metadata: %v", err)
		return
	}
	if len(news) == 0 {
		return
	}
	m.groups.nudge()
	for _, l := range m.connected() {
		go l.tell(message{Records: news})
	}
}

// publish makes a record count here, and waits until every server that is connected has it.
func (m *mesh) publish(ctx context.Context, records ...record) error {
	news, err := m.store.merge(records)
	if err != nil || len(news) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var told sync.WaitGroup
	for _, l := range m.connected() {
		// One that does not answer gets them with all others when it is met again.
		told.Go(func() { _, _ = l.ask(ctx, request{Records: news}) })
	}
	told.Wait()
	m.groups.nudge()
	return nil
}

// reaches tells whether a server is this one or connected.
func (m *mesh) reaches(serverID string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return serverID == m.store.serverID || m.links[serverID] != nil
}

// up are the servers that are connected, and this one.
func (m *mesh) up() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := slices.Collect(maps.Keys(m.links))
	ids = append(ids, m.store.serverID)
	slices.Sort(ids)
	return ids
}

// connected are the connections, by the name of the server.
func (m *mesh) connected() []*link {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.links), func(a, b *link) int {
		return strings.Compare(a.peer.Name+a.peer.ServerID, b.peer.Name+b.peer.ServerID)
	})
}

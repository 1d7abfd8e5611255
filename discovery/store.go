// Package discovery is a small HTTP service by which the nodes of a new cluster
// find each other, and the sidekick that announces a node there while a command
// lives. A group of nodes shares an id; each registers its address under it and
// is told those of the others.
//
// It stands alone: a server on any machine, a file of its own, no swarm and no
// engine.
package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// What a request cannot have.
var (
	errUnknown   = errors.New("there is no such id")
	errAddresses = errors.New("the id has as many addresses as it may")
	errClientIDs = errors.New("this client has as many ids as it may")
	errIDs       = errors.New("the service has as many ids as it may, try later")
)

// Limits are what a store takes in; 0 is no limit.
type Limits struct {
	Addresses int           // of an id
	ClientIDs int           // of a client
	IDs       int           // of all
	Idle      time.Duration // after which an id expires
}

// group is what the file keeps of an id.
type group struct {
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"`
	Client  string    `json:"client"`
	Nodes   []node    `json:"nodes"`
}

type node struct {
	Addr    string    `json:"addr"`
	Expires time.Time `json:"expires,omitzero"` // never where it is zero
}

// Answer is what the service tells of an id.
type Answer struct {
	CreatedAt time.Time `json:"created_at"`
	DiscoID   string    `json:"disco_id"`
	Nodes     []string  `json:"nodes"`
}

func (g group) answer(id string, now time.Time) Answer {
	a := Answer{CreatedAt: g.Created, DiscoID: id, Nodes: []string{}}
	for _, n := range g.Nodes {
		if n.alive(now) {
			a.Nodes = append(a.Nodes, n.Addr)
		}
	}
	return a
}

func (n node) alive(now time.Time) bool { return n.Expires.IsZero() || now.Before(n.Expires) }

const (
	// batchDelay is how long a write waits for others to share its sync to disk.
	batchDelay = 2 * time.Millisecond
	// lockTimeout bounds the wait for another process that has the file.
	lockTimeout = 3 * time.Second
	// usedGrain: a read notes that an id is in use only where the note is older
	// than this part of the idle time, so that reads seldom write.
	usedGrain = 100
)

// store keeps ids on disk. What it has acknowledged survives kill -9: every
// write is synced, those that come at once together.
type store struct {
	db     *bbolt.DB
	limits Limits
	now    func() time.Time
	ids    atomic.Int64
}

func openStore(file string, limits Limits, now func() time.Time) (*store, error) {
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: lockTimeout})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another process", file)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	db.MaxBatchDelay = batchDelay
	s := &store{db: db, limits: limits, now: now}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{idsBucket, clientsBucket} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		s.ids.Store(int64(tx.Bucket([]byte(idsBucket)).Stats().KeyN))
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %s: %w", file, err), db.Close())
	}
	return s, nil
}

const (
	idsBucket     = "ids"     // id: group as JSON
	clientsBucket = "clients" // client: how many ids it has, as JSON
)

func (s *store) close() error { return s.db.Close() }

// create makes an id for a client.
func (s *store) create(client string) (Answer, error) {
	now := s.now().UTC()
	id := uuid.NewString()
	g := group{Created: now, Used: now, Client: client}
	err := s.db.Batch(func(tx *bbolt.Tx) error {
		if s.limits.IDs > 0 && s.ids.Load() >= int64(s.limits.IDs) {
			return errIDs
		}
		if err := countClient(tx, client, 1, s.limits.ClientIDs); err != nil {
			return err
		}
		return put(tx, id, g)
	})
	if err != nil {
		return Answer{}, err
	}
	s.ids.Add(1)
	return g.answer(id, now), nil
}

// register adds an address to an id, or renews it in its place. It expires after
// ttl, 0 for never.
func (s *store) register(id, addr string, ttl time.Duration) (Answer, error) {
	n := node{Addr: addr}
	if ttl > 0 {
		n.Expires = s.now().UTC().Add(ttl)
	}
	return s.change(id, func(g *group) error {
		if i := slices.IndexFunc(g.Nodes, func(o node) bool { return o.Addr == addr }); i >= 0 {
			g.Nodes[i] = n
			return nil
		}
		if s.limits.Addresses > 0 && len(g.Nodes) >= s.limits.Addresses {
			return errAddresses
		}
		g.Nodes = append(g.Nodes, n)
		return nil
	})
}

// withdraw takes an address from an id, where it has it.
func (s *store) withdraw(id, addr string) (Answer, error) {
	return s.change(id, func(g *group) error {
		g.Nodes = slices.DeleteFunc(g.Nodes, func(n node) bool { return n.Addr == addr })
		return nil
	})
}

// list tells the addresses of an id.
func (s *store) list(id string) (Answer, error) {
	var g group
	now := s.now().UTC()
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		g, err = s.get(tx, id, now)
		return err
	})
	if err != nil {
		return Answer{}, err
	}
	if s.limits.Idle > 0 && now.Sub(g.Used) > s.limits.Idle/usedGrain {
		return s.change(id, func(*group) error { return nil })
	}
	return g.answer(id, now), nil
}

// change rewrites an id's group. The function may run more than once, each time
// on a group as it is on disk.
func (s *store) change(id string, change func(*group) error) (Answer, error) {
	var g group
	now := s.now().UTC()
	err := s.db.Batch(func(tx *bbolt.Tx) (err error) {
		if g, err = s.get(tx, id, now); err != nil {
			return err
		}
		g.Nodes = slices.DeleteFunc(g.Nodes, func(n node) bool { return !n.alive(now) })
		if err := change(&g); err != nil {
			return err
		}
		g.Used = now
		return put(tx, id, g)
	})
	return g.answer(id, now), err
}

func (s *store) get(tx *bbolt.Tx, id string, now time.Time) (group, error) {
	var g group
	value := tx.Bucket([]byte(idsBucket)).Get([]byte(id))
	if value == nil {
		return g, errUnknown
	}
	if err := json.Unmarshal(value, &g); err != nil {
		return g, fmt.Errorf("read id %s: %w", id, err)
	}
	if s.expired(g, now) {
		return g, errUnknown
	}
	return g, nil
}

func (s *store) expired(g group, now time.Time) bool {
	return s.limits.Idle > 0 && now.Sub(g.Used) > s.limits.Idle
}

// sweepStep is how many ids one transaction of sweep looks at: others wait for
// it.
const sweepStep = 1000

// sweep deletes expired ids and says how many they were.
func (s *store) sweep() (deleted int, err error) {
	var next []byte
	for more := true; more && err == nil; {
		gone := 0
		err = s.db.Update(func(tx *bbolt.Tx) error {
			gone, more = 0, false
			return s.sweepFrom(tx, &next, &gone, &more)
		})
		if err == nil {
			deleted += gone
			s.ids.Add(-int64(gone))
		}
	}
	return deleted, err
}

func (s *store) sweepFrom(tx *bbolt.Tx, next *[]byte, gone *int, more *bool) error {
	ids := tx.Bucket([]byte(idsBucket))
	cursor := ids.Cursor()
	now := s.now().UTC()
	type dead struct{ id, client string }
	var all []dead
	seen := 0
	for k, v := cursor.Seek(*next); k != nil; k, v = cursor.Next() {
		if seen == sweepStep {
			*next, *more = slices.Clone(k), true
			break
		}
		seen++
		var g group
		if err := json.Unmarshal(v, &g); err != nil {
			return fmt.Errorf("read id %s: %w", k, err)
		}
		if s.expired(g, now) {
			all = append(all, dead{string(k), g.Client})
		}
	}
	for _, d := range all {
		if err := errors.Join(ids.Delete([]byte(d.id)), countClient(tx, d.client, -1, 0)); err != nil {
			return err
		}
	}
	*gone = len(all)
	return nil
}

func put(tx *bbolt.Tx, id string, g group) error {
	value, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return tx.Bucket([]byte(idsBucket)).Put([]byte(id), value)
}

// countClient changes how many ids a client has.
func countClient(tx *bbolt.Tx, client string, by, limit int) error {
	bucket := tx.Bucket([]byte(clientsBucket))
	has := 0
	if value := bucket.Get([]byte(client)); value != nil {
		if err := json.Unmarshal(value, &has); err != nil {
			return fmt.Errorf("read client %s: %w", client, err)
		}
	}
	if has += by; by > 0 && limit > 0 && has > limit {
		return errClientIDs
	}
	if has <= 0 {
		return bucket.Delete([]byte(client))
	}
	value, err := json.Marshal(has)
	if err != nil {
		return err
	}
	return bucket.Put([]byte(client), value)
}

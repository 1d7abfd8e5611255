package swarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"skep/tunnel"
)

const (
	// So long a connection to a task that died may go on, for what the task
	// sent last is still under way.
	parting = time.Second
	// So long a dial waits for a service that has no running task.
	taskPatience = 10 * time.Second
	// After all tasks failed a dial waits so long for others to come.
	changePatience = time.Second
	// A task whose node has not answered for so long gets a rival.
	rivalAfter = 300 * time.Millisecond
)

// Ways is a Fleet that gives further connections to its nodes, which bulk data
// does not share with the engines.
type Ways interface {
	Fleet
	Connect(ctx context.Context, node string) (*tunnel.Conn, error)
}

// Follower reaches services for as long as it lives: it watches which tasks run
// and keeps connections to their nodes, so that a dial asks nobody first. When
// a task, a node or a connection dies, dials go to other tasks, and what was
// open to the dead task is closed. Close it after use.
type Follower struct {
	ways Ways
	log  *slog.Logger

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // asks for a look at the swarm, now

	mu       sync.Mutex
	seen     snapshot
	err      error                         // why the last look failed
	asked    int                           // looks asked for
	answered int                           // and those that were had
	hot      time.Time                     // until then something is changing
	used     map[string]time.Time          // services, by when they were dialled last
	dead     map[string]bool               // containers that died, whatever a manager still says
	changed  chan struct{}                 // closed at the next change of the above
	pools    map[string]*tunnel.Pool       // by node
	watched  map[string]context.CancelFunc // nodes whose events are heard
}

// Follow begins to follow. It asks nobody before the first dial.
func Follow(ctx context.Context, ways Ways, log *slog.Logger) *Follower {
	f := &Follower{
		ways: ways, log: log, wake: make(chan struct{}, 1), changed: make(chan struct{}),
		used: map[string]time.Time{}, dead: map[string]bool{},
		pools: map[string]*tunnel.Pool{}, watched: map[string]context.CancelFunc{},
	}
	f.ctx, f.cancel = context.WithCancel(ctx)
	f.running.Go(f.watch)
	return f
}

// Close ends the connections that were dialled, too.
func (f *Follower) Close() {
	f.mu.Lock()
	f.cancel() // under the lock: nothing is started after it
	f.mu.Unlock()
	f.running.Wait()
	f.mu.Lock()
	pools := slices.Collect(maps.Values(f.pools))
	f.mu.Unlock()
	for _, p := range pools {
		p.Close()
	}
}

// DialService connects to a port of a running task of the service: one on the
// nearest node that answers.
func (f *Follower) DialService(ctx context.Context, service string, port int) (net.Conn, error) {
	tasks, changed, err := f.tasks(ctx, service)
	for err == nil {
		var conn net.Conn
		if conn, err = f.race(ctx, f.order(tasks), port); err == nil {
			return conn, nil
		}
		// The news of a death may be on its way.
		f.look()
		failed := err
		if !f.await(ctx, changed, changePatience) {
			return nil, failed
		}
		tasks, changed, err = f.tasks(ctx, service)
	}
	return nil, err
}

// tasks are those of a service that take connections. It waits a while for
// the first one, where there is such a service.
func (f *Follower) tasks(ctx context.Context, service string) (tasks []*living, changed <-chan struct{}, err error) {
	if err := f.know(ctx, service); err != nil {
		return nil, nil, err
	}
	for begin := time.Now(); ; {
		f.mu.Lock()
		tasks, exists, changed := f.seen.open(service), f.seen.services[service], f.changed
		f.mu.Unlock()
		if len(tasks) > 0 {
			return tasks, changed, nil
		}
		if !exists {
			return nil, nil, fmt.Errorf("there is no service %s", service)
		}
		if !f.await(ctx, changed, taskPatience-time.Since(begin)) {
			return nil, nil, fmt.Errorf("service %s has no running task", service)
		}
	}
}

// know sees that the service is in the snapshot, by a look if it is not.
func (f *Follower) know(ctx context.Context, service string) error {
	f.mu.Lock()
	first := f.used[service].IsZero()
	f.used[service] = time.Now()
	known := f.seen.services[service] && !first
	if first {
		f.hot = time.Now().Add(hotTime) // nobody has told of its changes yet
	}
	f.mu.Unlock()
	if known {
		return nil
	}
	return f.fresh(ctx)
}

// fresh returns after a look that began later.
func (f *Follower) fresh(ctx context.Context) error {
	f.mu.Lock()
	f.asked++
	want := f.asked
	f.mu.Unlock()
	for {
		f.look()
		f.mu.Lock()
		answered, err, changed := f.answered, f.err, f.changed
		f.mu.Unlock()
		if answered >= want {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.ctx.Done():
			return net.ErrClosed
		}
	}
}

// await says whether there was a change within the time.
func (f *Follower) await(ctx context.Context, changed <-chan struct{}, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-changed:
		return true
	case <-timer.C:
	case <-ctx.Done():
	case <-f.ctx.Done():
	}
	return false
}

// look asks for a look at the swarm.
func (f *Follower) look() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// changedLocked tells those who wait.
func (f *Follower) changedLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// race dials the first task, the next one when that fails or does not answer
// for a while, and so on; the first that answers wins.
func (f *Follower) race(ctx context.Context, tasks []*living, port int) (net.Conn, error) {
	if len(tasks) == 1 {
		return f.dial(ctx, tasks[0], port)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, len(tasks))
	rival := time.NewTimer(0)
	defer rival.Stop()
	var errs []error
	for next, underway := 0, 0; ; {
		select {
		case <-rival.C:
			if next == len(tasks) {
				continue
			}
			t := tasks[next]
			next, underway = next+1, underway+1
			go func() {
				conn, err := f.dial(ctx, t, port)
				results <- result{conn, err}
			}()
			rival.Reset(rivalAfter)
		case r := <-results:
			underway--
			if r.err == nil {
				cancel()
				go func() {
					for range underway {
						if late := <-results; late.err == nil {
							_ = late.conn.Close()
						}
					}
				}()
				return r.conn, nil
			}
			errs = append(errs, r.err)
			if len(errs) == len(tasks) {
				return nil, errors.Join(errs...)
			}
			rival.Reset(0)
		}
	}
}

// dial connects to one task. The connection ends soon after the task.
func (f *Follower) dial(ctx context.Context, t *living, port int) (net.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.ctx, func() { cancel(errDied) })() //nolint:contextcheck // the end of the task, not of the caller
	address, err := f.address(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("%s on %s: %w", t.Service, t.Node, err)
	}
	conn, err := f.pool(t.Node).Dial(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		t.failed.Store(time.Now().UnixNano())
		return nil, fmt.Errorf("%s on %s, port %d: %w", t.Service, t.Node, port, err)
	}
	t.failed.Store(0)
	t.load.Add(1)
	c := &followed{Conn: conn, task: t}
	c.unfollow = context.AfterFunc(t.ctx, func() { //nolint:contextcheck // the end of the task, not of the caller
		timer := time.NewTimer(parting)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-f.ctx.Done():
		}
		_ = c.Close()
	})
	return c, nil
}

var errDied = errors.New("the task died")

// address is where the task's node reaches it. It stays what it is as long as
// the task lives.
func (f *Follower) address(ctx context.Context, t *living) (string, error) {
	if known := t.address.Load(); known != nil {
		return *known, nil
	}
	engine, err := f.ways.Engine(ctx, t.Node)
	if err != nil {
		return "", err
	}
	address, err := engine.address(ctx, t.Container)
	if err == nil {
		t.address.Store(&address)
	}
	return address, err
}

// pool is that of the connections to a node.
func (f *Follower) pool(node string) *tunnel.Pool {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.pools[node]
	if p == nil {
		p = tunnel.NewPool(f.ctx, node, func(ctx context.Context) (*tunnel.Conn, error) {
			return f.ways.Connect(ctx, node)
		}, f.log)
		f.pools[node] = p
	}
	return p
}

// followed is a connection to a task.
type followed struct {
	net.Conn
	task     *living
	unfollow func() bool
	once     sync.Once
}

func (c *followed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

func (c *followed) Close() error {
	c.once.Do(func() {
		c.task.load.Add(-1)
		c.unfollow()
	})
	return c.Conn.Close()
}

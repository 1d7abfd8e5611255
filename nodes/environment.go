// Package nodes is the life of an environment: its machines are created,
// formed into a swarm, listed, started, stopped and removed.
//
// It asks drivers (providers) for machines and engines (swarm) for the rest,
// and must not know what a command line or a database is.
package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"sync"
	"time"

	"skep/home"
	"skep/providers"
	"skep/swarm"
	"skep/tunnel"
	"skep/usage"

	"github.com/docker/docker/client"
	"github.com/gofrs/flock"
	"golang.org/x/crypto/ssh"
)

// bootTimeout is how long a machine that was started may take to serve Docker.
const bootTimeout = 3 * time.Minute

// settleTimeout is the same for one that installs Docker at its first boot.
const settleTimeout = 10 * time.Minute

// leadingTrusted is how long a manager is taken for one without being asked.
const leadingTrusted = 5 * time.Second

// Environment is a named swarm and the ways to it. Close it after use.
type Environment struct {
	Name    string
	Drivers map[string]providers.Driver // by name; see AnyDriver
	Home    home.Dir
	Log     *slog.Logger
	// Local gives the engine of this computer, a source of images. It need not
	// be there.
	Local func() (*client.Client, error)

	mu      sync.Mutex
	engines map[string]*swarm.Engine // connected, by node
	leading string                   // the node that answered as a manager last
	asked   time.Time                // and when it did
	pins    sync.Mutex               // held while the pinned host keys are written
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// CheckName refuses what is not the name of an environment.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return usage.Errorf("%q is not the name of an environment: use a to z, 0 to 9 and -, starting with a letter, 31 at most", name)
	}
	return nil
}

// Close ends the connections to the environment's nodes.
func (e *Environment) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all sync.WaitGroup
	for _, engine := range e.engines {
		all.Go(func() { _ = engine.Close() })
	}
	all.Wait()
	e.engines = nil
}

var errStopped = errors.New("is stopped")

// ErrNoEnvironment is an environment that has no machine.
var ErrNoEnvironment = errors.New("there is no such environment")

// existing is the machines of those drivers that answer, refusing an
// environment that has none.
func (e *Environment) existing(ctx context.Context) ([]providers.Machine, error) {
	all, err := answering(ctx, e.Drivers, e.Name, e.Log)
	if err == nil && len(all) == 0 {
		err = e.noSuch()
	}
	return all, err
}

// whole is Machines, refusing an environment that has none.
func (e *Environment) whole(ctx context.Context) ([]providers.Machine, error) {
	all, err := e.Machines(ctx)
	if err == nil && len(all) == 0 {
		err = e.noSuch()
	}
	return all, err
}

func (e *Environment) noSuch() error {
	return fmt.Errorf("%s: %w: `skep nodes create %s` makes it", e.Name, ErrNoEnvironment, e.Name)
}

// Lock keeps two commands of this user from changing the environment at once.
func (e *Environment) Lock(ctx context.Context) (unlock func(), err error) {
	if err := e.Home.Make(); err != nil {
		return nil, err
	}
	file := flock.New(e.Home.Lock(e.Name))
	held, err := file.TryLock()
	if err == nil && !held {
		e.Log.Info("waiting for another skep that is changing " + e.Name)
		_, err = file.TryLockContext(ctx, 100*time.Millisecond)
	}
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("nothing of %s was changed: %w", e.Name, context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", e.Name, err)
	}
	return func() { _ = file.Close() }, nil
}

// Engine is the engine of a node, connected once and kept; a connection that
// broke is made anew, wherever the machine answers now.
func (e *Environment) Engine(ctx context.Context, node string) (*swarm.Engine, error) {
	if engine := e.connected(node); engine != nil {
		return engine, nil
	}
	all, err := e.existing(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(m providers.Machine) bool { return m.Name == node })
	if i < 0 {
		return nil, fmt.Errorf("%s has no node %s", e.Name, node)
	}
	return e.engine(ctx, all[i])
}

// Connect opens one more SSH connection to a node. The caller closes it.
func (e *Environment) Connect(ctx context.Context, node string) (*tunnel.Conn, error) {
	all, err := e.existing(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(m providers.Machine) bool { return m.Name == node })
	if i < 0 {
		return nil, fmt.Errorf("%s has no node %s", e.Name, node)
	}
	return e.connect(ctx, all[i])
}

func (e *Environment) connected(node string) *swarm.Engine {
	e.mu.Lock()
	defer e.mu.Unlock()
	engine := e.engines[node]
	if engine == nil {
		return nil
	}
	select {
	case <-engine.Conn().Done():
		delete(e.engines, node)
		return nil
	default:
		return engine
	}
}

func (e *Environment) engine(ctx context.Context, m providers.Machine) (*swarm.Engine, error) {
	if engine := e.connected(m.Name); engine != nil {
		return engine, nil
	}
	conn, err := e.connect(ctx, m)
	if err != nil {
		return nil, err
	}
	engine, err := swarm.Open(conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if other := e.engines[m.Name]; other != nil {
		// Somebody else connected meanwhile.
		go func() { _ = engine.Close() }()
		return other, nil
	}
	if e.engines == nil {
		e.engines = map[string]*swarm.Engine{}
	}
	e.engines[m.Name] = engine
	return engine, nil
}

// connect opens an SSH connection. Where the driver has a way of its own into
// the machine, that is asked before a host key or a login is found wanting.
func (e *Environment) connect(ctx context.Context, m providers.Machine) (*tunnel.Conn, error) {
	if m.Fresh {
		return nil, fmt.Errorf("%s is being made, or was left half made: `skep nodes create %s` finishes it: %w", m.Name, e.Name, errStopped)
	}
	if !m.Running {
		return nil, fmt.Errorf("%s %w: `skep nodes start %s` starts it", m.Name, errStopped, e.Name)
	}
	if host, _, err := net.SplitHostPort(m.SSH.Address); err != nil || host == "" {
		return nil, fmt.Errorf("%s has no address yet", m.Name) // which would be this computer's
	}
	if err := e.ensureKey(); err != nil {
		return nil, err
	}
	m.SSH.KnownHosts, m.SSH.Comment = e.Home.KnownHosts(e.Name), m.Driver
	conn, err := tunnel.Connect(ctx, m.SSH)
	if !errors.Is(err, tunnel.ErrNotPinned) && !errors.Is(err, tunnel.ErrOtherKey) && !errors.Is(err, tunnel.ErrDenied) {
		return conn, err
	}
	if _, ok := e.driver(m.Driver).(providers.Admitter); !ok {
		return nil, err
	}
	if err := e.admit(ctx, m); err != nil {
		return nil, err
	}
	return tunnel.Connect(ctx, m.SSH)
}

// ensureKey makes skep's key pair where this user has none yet.
func (e *Environment) ensureKey() error {
	if err := e.Home.Make(); err != nil {
		return err
	}
	_, err := tunnel.EnsureKey(e.Home.Key())
	return err
}

// admit pins the host key that the driver itself reads from the machine.
func (e *Environment) admit(ctx context.Context, m providers.Machine) error {
	a, ok := e.driver(m.Driver).(providers.Admitter)
	if !ok {
		return nil
	}
	key, err := a.Admit(ctx, m)
	if err != nil {
		return err
	}
	e.pins.Lock()
	defer e.pins.Unlock()
	return tunnel.Pin(e.Home.KnownHosts(e.Name), map[string]ssh.PublicKey{m.Name: key})
}

// Manager is an engine of the environment that answers as a manager: the one
// that does so first.
func (e *Environment) Manager(ctx context.Context) (*swarm.Engine, error) {
	e.mu.Lock()
	leading := e.leading
	if time.Since(e.asked) > leadingTrusted {
		leading = ""
	}
	e.mu.Unlock()
	if engine := e.connected(leading); engine != nil {
		return engine, nil
	}
	all, err := e.existing(ctx)
	if err != nil {
		return nil, err
	}
	return e.manager(ctx, all)
}

func (e *Environment) manager(ctx context.Context, all []providers.Machine) (*swarm.Engine, error) {
	type answer struct {
		engine *swarm.Engine
		err    error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(all))
	asked := 0
	for _, m := range all {
		if m.Role != providers.Manager {
			continue
		}
		asked++
		go func() {
			engine, err := e.asManager(ctx, m)
			answers <- answer{engine, err}
		}()
	}
	if asked == 0 {
		return nil, fmt.Errorf("%s has no manager: `skep nodes create %s` finishes what was begun", e.Name, e.Name)
	}
	var errs []error
	for range asked {
		a := <-answers
		if a.err == nil {
			e.mu.Lock()
			e.leading, e.asked = a.engine.Node(), time.Now()
			e.mu.Unlock()
			return a.engine, nil
		}
		errs = append(errs, a.err)
	}
	return nil, fmt.Errorf("no manager of %s answers: %w", e.Name, errors.Join(errs...))
}

func (e *Environment) asManager(ctx context.Context, m providers.Machine) (*swarm.Engine, error) {
	engine, err := e.engine(ctx, m)
	if err != nil {
		return nil, err
	}
	s, err := engine.State(ctx)
	if err != nil {
		return nil, err
	}
	if !s.Manager {
		return nil, &notManagerError{node: m.Name, state: s}
	}
	return engine, nil
}

// notManagerError is a manager machine whose engine is none, now.
type notManagerError struct {
	node  string
	state swarm.State
}

func (n *notManagerError) Error() string {
	switch {
	case !n.state.Member:
		return n.node + " is in no swarm"
	case n.state.Problem != "":
		return n.node + ": " + n.state.Problem
	}
	return n.node + " is no working manager"
}

// Engines connects to all nodes that run, at once. One that does not answer is
// told of and left out, for the others are none the worse for it.
func (e *Environment) Engines(ctx context.Context) ([]*swarm.Engine, error) {
	all, err := e.existing(ctx)
	if err != nil {
		return nil, err
	}
	engines := make([]*swarm.Engine, len(all))
	var connecting sync.WaitGroup
	for i, m := range all {
		if !m.Running {
			continue
		}
		connecting.Go(func() {
			engine, err := e.engine(ctx, m)
			if err != nil {
				e.Log.Warn("left out", "node", m.Name, "error", err)
				return
			}
			engines[i] = engine
		})
	}
	connecting.Wait()
	engines = slices.DeleteFunc(engines, func(engine *swarm.Engine) bool { return engine == nil })
	if len(engines) == 0 {
		return nil, cmp.Or(context.Cause(ctx), fmt.Errorf("no node of %s answers", e.Name))
	}
	return engines, nil
}

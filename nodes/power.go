package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"skep/providers"
	"skep/swarm"
	"skep/tunnel"

	"golang.org/x/sync/errgroup"
)

// Start starts the environment's stopped machines and waits until every one of
// them is Ready in the swarm again.
func (e *Environment) Start(ctx context.Context) error {
	unlock, err := e.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := e.whole(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, errors.New("not all nodes came back within "+bootTimeout.String()))
	defer cancel()
	// Managers first: workers look for them at their own start.
	managers, workers := split(all)
	if len(managers) == 0 {
		return fmt.Errorf("%s has no manager left: `skep nodes rm %s` removes what there is", e.Name, e.Name)
	}
	for _, some := range [][]providers.Machine{managers, workers} {
		if err := e.startSome(ctx, some); err != nil {
			return err
		}
	}
	engine, err := e.Manager(ctx)
	if err != nil {
		return err
	}
	// Some have another address than before.
	if err := e.UpdateFirewall(ctx); err != nil {
		return err
	}
	if err := engine.WaitReady(ctx, names(all), names(managers)); err != nil {
		return err
	}
	if err := e.shipAll(ctx, engine); err != nil {
		return err
	}
	e.Log.Info(e.Name + " is ready")
	return nil
}

// shipAll sends what services use to nodes that were away when it came.
func (e *Environment) shipAll(ctx context.Context, manager *swarm.Engine) error {
	images, err := e.imagesInUse(ctx, manager)
	if err != nil || len(images.images) == 0 {
		return err
	}
	engines, err := e.Engines(ctx)
	if err != nil {
		return err
	}
	for _, engine := range engines {
		if err := images.shipTo(ctx, engine); err != nil {
			return err
		}
	}
	return nil
}

func split(all []providers.Machine) (managers, workers []providers.Machine) {
	for _, m := range all {
		if m.Role == providers.Manager {
			managers = append(managers, m)
		} else {
			workers = append(workers, m)
		}
	}
	return managers, workers
}

func names(machines []providers.Machine) []string {
	var all []string
	for _, m := range machines {
		all = append(all, m.Name)
	}
	return all
}

// startSome starts machines, those that run already excepted, and waits until
// the engines of all of them serve.
func (e *Environment) startSome(ctx context.Context, some []providers.Machine) error {
	if err := e.startAll(ctx, some); err != nil {
		return err
	}
	now, err := e.whole(ctx) // ports of a local node change
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, m := range now {
		if !contains(some, m) {
			continue
		}
		g.Go(func() error {
			engine, err := e.boot(gctx, m)
			if err != nil || m.Role != providers.Manager {
				return err
			}
			return engine.WaitManager(gctx)
		})
	}
	return g.Wait()
}

func (e *Environment) startAll(ctx context.Context, all []providers.Machine) error {
	stopped := slices.DeleteFunc(slices.Clone(all), func(m providers.Machine) bool { return m.Running })
	for _, m := range stopped {
		e.Log.Info("starting", "node", m.Name)
	}
	return e.each(stopped, func(d providers.Driver, some []providers.Machine) error { return d.Start(ctx, some) })
}

// Stop stops the environment's machines; they keep their data and addresses.
// Hosts that were there before are left running.
func (e *Environment) Stop(ctx context.Context) error {
	unlock, err := e.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := e.whole(ctx)
	if err != nil {
		return err
	}
	running := slices.DeleteFunc(slices.Clone(all), func(m providers.Machine) bool { return !m.Running })
	lent := slices.DeleteFunc(slices.Clone(running), func(m providers.Machine) bool { return !m.Lent() })
	if len(all) == len(lent) {
		return fmt.Errorf("the nodes of %s are hosts that exist: they are not skep's to stop, and keep running", e.Name)
	}
	for _, m := range lent {
		e.Log.Warn("left running: a host that exists is not skep's to stop", "node", m.Name, "host", m.Host)
	}
	running = slices.DeleteFunc(running, providers.Machine.Lent)
	for _, m := range running {
		e.Log.Info("stopping", "node", m.Name)
	}
	err = e.each(running, func(d providers.Driver, some []providers.Machine) error { return d.Stop(ctx, some) })
	if bill := billing(all); bill > 0 {
		e.Log.Warn("machines that are off still bill " + dollars(bill) + ": only `skep nodes rm " + e.Name + "` ends that")
	}
	return err
}

// Shell connects to a node, by default to the first manager that runs, and
// runs a command there or an interactive shell.
func (e *Environment) Shell(ctx context.Context, node, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	all, err := e.existing(ctx)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(all, func(m providers.Machine) bool {
		return m.Name == node || node == "" && m.Running && m.Role == providers.Manager
	})
	if i < 0 && node == "" {
		return 0, fmt.Errorf("no manager of %s runs: name a node", e.Name)
	}
	if i < 0 {
		return 0, fmt.Errorf("%s has no node %s", e.Name, node)
	}
	conn, err := e.connect(ctx, all[i])
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	return conn.Shell(ctx, command, tunnel.Streams{In: stdin, Out: stdout, Err: stderr})
}

package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"skep/firewall"
	"skep/providers"
	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"
)

// form makes members of the machines in todo: each as soon as its engine
// serves, managers one after another, workers at once. It returns when all of
// them are Ready and labelled. Where there is no manager to join, the first
// machine in todo that can makes the swarm.
//
// Before any of them joins it is guarded, and those that are there know where it
// comes from.
func (e *Environment) form(ctx context.Context, all, todo []providers.Machine, manager *swarm.Engine, private bool, o CreateOptions) error {
	f := &forming{env: e, manager: manager, private: private, unguarded: o.NoFirewall, open: make(chan struct{})}
	i := slices.IndexFunc(all, func(m providers.Machine) bool {
		if manager != nil {
			return m.Name == manager.Node()
		}
		return m.Role == providers.Manager && contains(todo, m)
	})
	if i < 0 {
		return errors.New("no machine can be the first manager")
	}
	f.first = all[i]
	var err error
	if f.encryption, err = e.decide(ctx, manager, o.Encrypt, len(remote(all)) > 0); err != nil {
		return err
	}
	if guarded := remote(all); len(guarded) > 0 {
		if f.rules, err = e.rules(ctx, all, manager, private); err != nil {
			return err
		}
		e.reguard(ctx, slices.DeleteFunc(guarded, func(m providers.Machine) bool { return contains(todo, m) }), f.rules)
	}
	g, gctx := errgroup.WithContext(ctx)
	if !contains(todo, f.first) {
		g.Go(func() error { return f.openSwarm(gctx, manager) })
	}
	for _, m := range todo {
		g.Go(func() error {
			if err := e.admit(gctx, m); err != nil {
				return err
			}
			engine, err := e.boot(gctx, m)
			if err != nil {
				return err
			}
			if err := f.guard(gctx, m, engine); err != nil {
				return err
			}
			if err := f.checkESP(gctx, m, engine); err != nil {
				return err
			}
			if m.Name == f.first.Name {
				return f.openSwarm(gctx, engine)
			}
			return f.add(gctx, m, engine)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return f.finish(ctx, all, todo)
}

func contains(all []providers.Machine, m providers.Machine) bool {
	return slices.ContainsFunc(all, func(o providers.Machine) bool { return o.Name == m.Name })
}

// forming is one form under way.
type forming struct {
	env       *Environment
	private   bool              // at which addresses nodes reach each other
	first     providers.Machine // makes the swarm, or has it
	turn      sync.Mutex        // managers join one after another
	rules     firewall.Rules    // of those that are remote
	unguarded bool              // unless they are to have none

	encryption encryption
	lacking    sync.Mutex // of lacks
	lacks      []string   // machines without ESP

	manager *swarm.Engine // of the first; nil until there is a swarm

	open   chan struct{} // closed once there is a swarm to join; then these are set
	tokens api.JoinTokens
	images imageSource
}

// openSwarm makes the swarm on the first manager's engine, unless there is one.
func (f *forming) openSwarm(ctx context.Context, engine *swarm.Engine) error {
	if f.manager == nil {
		if err := engine.Init(ctx, reached(f.first, f.private)); err != nil {
			return err
		}
		f.manager = engine
	}
	var err error
	if f.tokens, err = f.manager.Tokens(ctx); err != nil {
		return err
	}
	if f.images, err = f.env.imagesInUse(ctx, f.manager); err != nil {
		return err
	}
	close(f.open)
	return nil
}

// add makes one machine a member. Images that services use are there before
// the swarm gives it its first task.
func (f *forming) add(ctx context.Context, m providers.Machine, engine *swarm.Engine) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-f.open:
	}
	member, err := f.isMember(ctx, engine)
	if err != nil || member {
		return err
	}
	if err := f.images.shipTo(ctx, engine); err != nil {
		return err
	}
	token := f.tokens.Worker
	if m.Role == providers.Manager {
		f.turn.Lock()
		defer f.turn.Unlock()
		token = f.tokens.Manager
	}
	if err := engine.Join(ctx, reached(m, f.private), reached(f.first, f.private), token); err != nil {
		return err
	}
	if m.Role == providers.Manager {
		// The next one has to find the quorum of this one.
		ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, errors.New("it did not become a manager within "+bootTimeout.String()))
		defer cancel()
		return f.manager.WaitReady(ctx, []string{m.Name}, []string{m.Name})
	}
	return nil
}

// isMember says whether the engine belongs to this very swarm already. What is
// left of a membership that this swarm has struck off is given up; one in
// another swarm is not skep's to give up.
func (f *forming) isMember(ctx context.Context, engine *swarm.Engine) (bool, error) {
	settle, cancel := context.WithTimeoutCause(ctx, quorumTimeout, errors.New("not settled within "+quorumTimeout.String()))
	defer cancel()
	s, err := engine.Settled(settle)
	if err != nil || !s.Member {
		return false, err
	}
	members, err := f.manager.Members(ctx)
	if err != nil {
		return false, err
	}
	known := func(id string) bool {
		return slices.ContainsFunc(members, func(n api.Node) bool { return n.ID == id })
	}
	if known(s.ID) {
		return true, nil
	}
	if len(s.Remotes) > 0 && !slices.ContainsFunc(s.Remotes, known) {
		return false, fmt.Errorf("%s belongs to another swarm", engine.Node())
	}
	return false, engine.Leave(ctx)
}

// finish waits for the new members, proves that data gets to them, labels them,
// and strikes what an earlier life of a machine left in the swarm's list. The
// driver's label is the last, for a member that has it counts as finished.
func (f *forming) finish(ctx context.Context, all, todo []providers.Machine) error {
	forming, cancel := context.WithTimeoutCause(ctx, bootTimeout, errors.New("the swarm did not form within "+bootTimeout.String()))
	defer cancel()
	managers, _ := split(todo)
	if err := f.manager.WaitReady(forming, names(todo), names(managers)); err != nil {
		return err
	}
	members, err := f.manager.Members(ctx)
	if err != nil {
		return err
	}
	labels := map[string]string{}
	if f.encrypted() {
		labels[swarm.LabelEncrypt] = "true"
	}
	for _, m := range todo {
		n, _ := swarm.Member(members, m.Name)
		labels[swarm.LabelRegion] = m.Region
		if err := f.manager.Label(ctx, n.ID, labels); err != nil {
			return err
		}
		for _, old := range members {
			if old.Description.Hostname != m.Name || old.ID == n.ID {
				continue
			}
			if err := strike(ctx, f.manager, old); err != nil {
				return err
			}
		}
	}
	if err := f.env.prove(ctx, f.manager, all, todo); err != nil {
		return err
	}
	for _, m := range todo {
		n, _ := swarm.Member(members, m.Name)
		if err := f.manager.Label(ctx, n.ID, map[string]string{swarm.LabelDriver: m.Driver}); err != nil {
			return err
		}
		f.env.Log.Info("ready", "node", m.Name)
	}
	return nil
}

// imageSource is what services of the swarm use that no registry has.
type imageSource struct {
	env     *Environment
	images  []string
	manager *swarm.Engine
}

// imagesInUse reads the images that services name by ID.
func (e *Environment) imagesInUse(ctx context.Context, manager *swarm.Engine) (imageSource, error) {
	services, err := manager.ServiceList(ctx, api.ServiceListOptions{})
	if err != nil {
		return imageSource{}, fmt.Errorf("list the services of %s: %w", e.Name, err)
	}
	s := imageSource{env: e, manager: manager}
	for _, service := range services {
		image := service.Spec.TaskTemplate.ContainerSpec.Image
		if strings.HasPrefix(image, "sha256:") && !slices.Contains(s.images, image) {
			s.images = append(s.images, image)
		}
	}
	return s, nil
}

// shipTo sends the engine what it lacks: from this computer's engine where it
// has the image, which is nearest, else from a node.
func (s imageSource) shipTo(ctx context.Context, to *swarm.Engine) error {
	for _, image := range s.images {
		has, err := to.Has(ctx, image)
		if err != nil {
			return err
		}
		if has {
			continue
		}
		s.env.Log.Info("sending image "+image[:19], "node", to.Node())
		if err := s.ship(ctx, image, to); err != nil {
			return err
		}
	}
	return nil
}

func (s imageSource) ship(ctx context.Context, image string, to *swarm.Engine) error {
	if local, err := s.env.Local(); err == nil {
		if _, err := local.ImageInspect(ctx, image); err == nil {
			return swarm.Ship(ctx, local, image, []*swarm.Engine{to})
		}
	}
	engines, err := s.env.Engines(ctx)
	if err != nil {
		return err
	}
	for _, from := range engines {
		if has, err := from.Has(ctx, image); err == nil && has {
			return swarm.Ship(ctx, from.Client, image, []*swarm.Engine{to})
		}
	}
	return fmt.Errorf("image %s, which services of %s use, is on none of its nodes", image, s.env.Name)
}

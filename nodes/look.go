package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"skep/providers"
	"skep/swarm"
)

// view is what an environment's machines and its swarm say of each other.
type view struct {
	manager  *swarm.Engine   // a working manager; nil where there is no swarm yet
	finished map[string]bool // machines that are labelled members
	ready    map[string]bool // machines that are Ready in the swarm now
}

// look finds the environment's swarm. That there is none is said only where no
// machine belongs to any: making a second one beside one that cannot be seen
// now would split the environment for good.
func (e *Environment) look(ctx context.Context, all []providers.Machine) (view, error) {
	v := view{finished: map[string]bool{}, ready: map[string]bool{}}
	asked := slices.DeleteFunc(slices.Clone(all), func(m providers.Machine) bool { return m.Fresh })
	managers, workers := split(asked)
	for _, m := range managers {
		if !m.Running {
			e.Log.Warn("it is stopped", "node", m.Name)
		}
	}
	engine, err := e.formed(ctx, managers)
	if err != nil {
		return v, err
	}
	if engine == nil {
		return v, e.refuseOrphans(ctx, workers)
	}
	v.manager = engine
	members, err := engine.Members(ctx)
	if err != nil {
		return v, err
	}
	for _, m := range all {
		n, ok := swarm.Member(members, m.Name)
		_, labelled := n.Spec.Labels[swarm.LabelDriver]
		v.finished[m.Name] = ok && labelled
		v.ready[m.Name] = ok && swarm.Ready(n)
	}
	return v, nil
}

// formed finds a working manager, or none where all managers' machines say that
// they are in no swarm. Everything between is an error.
func (e *Environment) formed(ctx context.Context, managers []providers.Machine) (*swarm.Engine, error) {
	engines := make([]*swarm.Engine, len(managers))
	errs := make([]error, len(managers))
	asked, enough := context.WithCancel(ctx)
	defer enough()
	var asking sync.WaitGroup
	for i, m := range managers {
		asking.Go(func() {
			if engines[i], errs[i] = e.membership(asked, m); errs[i] == nil && engines[i] != nil {
				enough() // the others need not be waited for
			}
		})
	}
	asking.Wait()
	for i, engine := range engines {
		if engine != nil && errs[i] == nil {
			return engine, nil
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("the swarm of %s has no working manager: %w", e.Name, err)
	}
	return nil, nil
}

// membership is the machine's engine if it is a working manager, nil if it is
// in no swarm. One that a killed run left while it was becoming a manager is
// waited for.
func (e *Environment) membership(ctx context.Context, m providers.Machine) (*swarm.Engine, error) {
	engine, err := e.boot(ctx, m)
	if err != nil {
		return nil, err
	}
	s, err := engine.State(ctx)
	if err != nil || !s.Member {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, quorumTimeout, errors.New("no quorum within "+quorumTimeout.String()))
	defer cancel()
	return engine, engine.WaitManager(ctx)
}

// refuseOrphans is asked where no manager has a swarm: workers that belong to
// one are what is left of an environment whose managers are gone.
func (e *Environment) refuseOrphans(ctx context.Context, workers []providers.Machine) error {
	members := make([]string, len(workers))
	errs := make([]error, len(workers))
	var asking sync.WaitGroup
	for i, m := range workers {
		asking.Go(func() {
			engine, err := e.boot(ctx, m)
			if err == nil {
				var s swarm.State
				if s, err = engine.State(ctx); s.Member {
					members[i] = m.Name
				}
			}
			errs[i] = err
		})
	}
	asking.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if members = slices.DeleteFunc(members, func(n string) bool { return n == "" }); len(members) > 0 {
		return fmt.Errorf("%s belong to a swarm whose managers are gone, and a new one would cost what runs on them: `skep nodes rm %s` removes all of it",
			strings.Join(members, ", "), e.Name)
	}
	return nil
}

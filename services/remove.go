package services

import (
	"context"
	"errors"
	"fmt"
	"golang.org/x/sync/errgroup"
)

// Remove removes the services of a stack, and its networks where nothing else
// uses them. Data stays unless volumes is set: then it is removed on every node.
func (x Executor) Remove(ctx context.Context, name string, volumes bool) error {
	ctx, cancel := context.WithTimeout(ctx, deployTimeout)
	defer cancel()
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return err
	}
	unlock, err := x.Env.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	removed, err := manager.RemoveStack(ctx, name)
	if err != nil {
		return err
	}
	for _, s := range removed {
		x.Log.Info("service " + s + " removed")
	}
	if len(removed) == 0 {
		x.Log.Info("there is no service of " + name)
	}
	if err := x.Env.UpdateFirewall(ctx); err != nil {
		return err
	}
	if volumes || name != RethinkName { // whose data is of no use without its password
		if err := manager.RemoveKept(ctx, name, nil); err != nil {
			return err
		}
	}
	if !volumes {
		return nil
	}
	engines, err := x.Env.Engines(ctx)
	if err != nil {
		return err
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return err
	}
	errs := make([]error, len(engines), len(engines)+1)
	var g errgroup.Group
	for i, e := range engines {
		g.Go(func() error {
			errs[i] = e.RemoveVolumes(ctx, name)
			return nil
		})
	}
	_ = g.Wait()
	if len(members) > len(engines) {
		errs = append(errs, fmt.Errorf("%d of %d nodes do not answer: what volumes they have of %s are still there; start them and run this again",
			len(members)-len(engines), len(members), name))
	}
	return errors.Join(errs...)
}

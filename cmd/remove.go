package cmd

import (
	"context"
	"errors"
	"fmt"
)

// confirm asks for the name to be typed.
func (s *skep) confirm(ctx context.Context, name, what string) error {
	_, _ = fmt.Fprintf(s.Err, "This %s. Type %s to go on: ", what, name)
	typed, err := s.line(ctx)
	if err == nil && typed != name {
		err = fmt.Errorf("nothing was removed: %s was not typed (-f does without)", name)
	}
	return err
}

// remove closes the tunnels to services of an environment (all where of is
// nil), then removes what they led to, even where a tunnel would not close.
func (s *skep) remove(ctx context.Context, env string, of func(service string) bool, remove func(context.Context) error) error {
	err := s.closeTunnels(ctx, env, of)
	if of == nil {
		err = errors.Join(err, s.closeSocket(ctx, env))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(err, remove(ctx))
}

func (s *skep) closeTunnels(ctx context.Context, env string, of func(service string) bool) error {
	tunnels, err := s.tunnels()
	if err != nil {
		return err
	}
	if of == nil {
		_, err := tunnels.Close(ctx, env, "", 0)
		return err
	}
	open, err := tunnels.List(ctx, env)
	errs := []error{err}
	for _, t := range open {
		if of(t.Service) {
			_, err := tunnels.Close(ctx, env, t.Service, t.RemotePort)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

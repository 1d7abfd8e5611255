package nodes

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"skep/home"
	"skep/providers"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a provider whose machines never serve anything: what needs a swarm is
// tested on real ones.
type fake struct {
	mu       sync.Mutex
	machines []providers.Machine
	calls    []string

	checkErr, createErr, listErr, purgeErr error

	beforeCreate func() // called by Create once its machines are there
	purging      func(context.Context)
	deleting     func(providers.Machine)
}

func (f *fake) called(call string, names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, strings.TrimSpace(call+" "+strings.Join(names, " ")))
}

func (f *fake) Check(_ context.Context, specs []providers.Spec) ([]providers.Spec, error) {
	f.called("check", specs[0].Image)
	return specs, f.checkErr
}

func (f *fake) Create(_ context.Context, specs []providers.Spec) ([]providers.Machine, error) {
	for _, s := range specs {
		m := providers.Machine{Env: s.Env, Name: s.Name, Role: s.Role, Driver: "fake", Batch: s.Batch, Running: true}
		if i := slices.IndexFunc(f.machines, func(m providers.Machine) bool { return m.Name == s.Name }); i >= 0 {
			f.machines[i] = m
		} else {
			f.machines = append(f.machines, m)
		}
	}
	f.called("create")
	if f.beforeCreate != nil {
		f.beforeCreate()
	}
	return nil, f.createErr
}

func (f *fake) List(_ context.Context, env string) ([]providers.Machine, error) {
	var found []providers.Machine
	for _, m := range f.machines {
		if env == "" || m.Env == env {
			found = append(found, m)
		}
	}
	return found, f.listErr
}

func (f *fake) Start(_ context.Context, ms []providers.Machine) error {
	f.called("start", short(ms)...)
	return nil
}

func (f *fake) Stop(_ context.Context, ms []providers.Machine) error {
	f.called("stop", short(ms)...)
	return nil
}

func (f *fake) Delete(ctx context.Context, ms []providers.Machine) error {
	f.called("delete", short(ms)...)
	if f.deleting != nil {
		for _, m := range ms {
			f.deleting(m)
		}
	}
	return ctx.Err()
}

func (f *fake) Purge(ctx context.Context, env string) error {
	f.called("purge", env)
	if f.purging != nil {
		f.purging(ctx)
	}
	return errors.Join(f.purgeErr, ctx.Err())
}

func short(all []providers.Machine) []string {
	var names []string
	for _, m := range all {
		names = append(names, shorten(m.Name))
	}
	return names
}

func (f *fake) has(t *testing.T, calls ...string) {
	t.Helper()
	if !slices.Equal(f.calls, calls) {
		t.Errorf("asked the driver for %q, not %q", f.calls, calls)
	}
}

func environment(t *testing.T, d providers.Driver) (e *Environment, told *bytes.Buffer) {
	t.Helper()
	told = &bytes.Buffer{}
	dir := t.TempDir()
	e = &Environment{
		Name: "dev", Drivers: map[string]providers.Driver{"fake": d}, Log: slog.New(slog.NewTextHandler(told, nil)),
		Home: home.Dir{Config: filepath.Join(dir, "config"), State: filepath.Join(dir, "state")},
	}
	t.Cleanup(e.Close)
	return e, told
}

func second[T any](_ T, err error) error { return err }

// admitting is a driver with a way of its own into its machines.
type admitting struct {
	fake
	key   ssh.PublicKey
	asked int
}

func (a *admitting) Admit(context.Context, providers.Machine) (ssh.PublicKey, error) {
	a.asked++
	if a.key == nil {
		return nil, providers.ErrBoot
	}
	return a.key, nil
}

package nodes

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"skep/providers"
	"skep/usage"
)

// CreateOptions are what `nodes create` asks for.
type CreateOptions struct {
	Managers, Workers int      // how many more; with neither, 1 and 2 in a new environment
	Driver            string   // "" is the one that the environment has, docker where it has none
	Regions           []string // machines are spread over them in turn
	Size              string   // this and Image: "" is the driver's own
	Image             string
	Hosts             []string          // hosts that exist, USER@ADDRESS[:PORT], in place of numbers
	Options           map[string]string // what only the driver knows
	Install           bool              // the engine, on hosts that have none
	Private           bool              // nodes reach each other at their private addresses
	NoFirewall        bool              // remote machines get none from skep
	Encrypt           *bool             // overlay networks; nil is where every remote node can
	Keep              bool              // what a failed create made stays
	// Agree is asked before anything is made that costs something; nil agrees.
	Agree func(ctx context.Context, specs []providers.Spec) error
}

// mostManagers is Docker's own advice: every one of them agrees to every change.
const mostManagers = 7

// plan computes what a create has to make, without doing anything: the machines
// of a batch that an earlier run left unfinished, and new ones.
//
// A machine is finished once it is a labelled member of the swarm. A batch is
// joined only after all of it was made, so what is missing of one with a
// finished machine was removed on purpose. Asking again for as many as were asked
// for with an unfinished machine means that batch.
func plan(env string, all []providers.Machine, finished map[string]bool, o CreateOptions) ([]providers.Spec, error) {
	if o.Managers < 0 || o.Workers < 0 {
		return nil, usage.Errorf("the number of nodes cannot be negative")
	}
	o, err := withHosts(all, o)
	if err != nil {
		return nil, err
	}
	batch := unfinishedBatch(all, finished)
	unspecified := o.Managers == 0 && o.Workers == 0
	names := missing(batch, all)
	if unspecified && len(all) == 0 && len(batch) == 0 && len(o.Hosts) == 0 {
		o.Managers, o.Workers = 1, 2
	}
	if !unspecified && slices.ContainsFunc(all, func(m providers.Machine) bool { return !finished[m.Name] && asksFor(env, m.Batch, o) }) {
		o.Managers, o.Workers = 0, 0
	}
	managers := o.Managers
	for _, m := range all {
		if m.Role == providers.Manager {
			managers++
		}
	}
	if inBatch, _ := count(env, names); managers+inBatch == 0 {
		return nil, usage.Errorf("%s has no manager: a new environment needs at least one (-m 1)", env)
	}
	if managers > mostManagers && o.Managers > 0 {
		return nil, usage.Errorf("%s would have %d managers: more than %d make a swarm slower, not safer", env, managers, mostManagers)
	}
	fresh := append(numbered(env, providers.Manager, o.Managers, all, names), numbered(env, providers.Worker, o.Workers, all, names)...)
	if len(batch) > 0 {
		// What is missing belongs to the batch that it was asked for with.
		of := o
		of.Driver, of.Hosts = driverOf(batch, all, o.Driver), nil
		return append(specs(env, names, batch, of), specs(env, fresh, fresh, o)...), nil
	}
	return specs(env, fresh, fresh, o), nil
}

// withHosts counts hosts that are named: those that the environment has already
// are left out, and the first of a new environment is its manager, unless the
// options say how many are.
func withHosts(all []providers.Machine, o CreateOptions) (CreateOptions, error) {
	if len(o.Hosts) == 0 {
		return o, nil
	}
	managers, workers := o.Managers, o.Workers
	if managers == 0 && !slices.ContainsFunc(all, func(m providers.Machine) bool { return m.Role == providers.Manager }) {
		managers = 1
	}
	if workers == 0 {
		workers = max(0, len(o.Hosts)-managers)
	}
	if managers+workers != len(o.Hosts) {
		return o, usage.Errorf("%d hosts cannot be %d managers and %d workers", len(o.Hosts), managers, workers)
	}
	for i, h := range o.Hosts {
		if slices.Contains(o.Hosts[:i], h) {
			return o, usage.Errorf("host %s is named twice", h)
		}
	}
	there := func(h string) bool {
		return slices.ContainsFunc(all, func(m providers.Machine) bool { return m.Host == h })
	}
	var left []string
	o.Managers, o.Workers = 0, 0
	for i, h := range o.Hosts {
		switch {
		case there(h):
		case i < managers:
			o.Managers++
			left = append(left, h)
		default:
			o.Workers++
			left = append(left, h)
		}
	}
	o.Hosts = left
	return o, nil
}

// driverOf is the driver that a batch was begun with.
func driverOf(batch []string, all []providers.Machine, otherwise string) string {
	for _, m := range all {
		if slices.Contains(batch, m.Name) {
			return m.Driver
		}
	}
	return otherwise
}

// unfinishedBatch is the names of all machines asked for together with those
// that never became part of the swarm.
func unfinishedBatch(all []providers.Machine, finished map[string]bool) []string {
	var names []string
	for _, m := range all {
		if finished[m.Name] {
			continue
		}
		names = append(names, m.Name)
		if !slices.ContainsFunc(m.Batch, func(n string) bool { return finished[n] }) {
			names = append(names, m.Batch...)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(n string) bool { return n == "" })
}

// missing is what of the batch has to be made, or made whole.
func missing(batch []string, all []providers.Machine) []string {
	var names []string
	for _, name := range batch {
		i := slices.IndexFunc(all, func(m providers.Machine) bool { return m.Name == name })
		if i < 0 || all[i].Fresh {
			names = append(names, name)
		}
	}
	return names
}

func count(env string, names []string) (managers, workers int) {
	for _, n := range names {
		switch {
		case n == "": // no batch at all
		case roleOf(env, n) == providers.Manager:
			managers++
		default:
			workers++
		}
	}
	return managers, workers
}

// asksFor says whether a batch is of as many machines as the options ask for.
func asksFor(env string, batch []string, o CreateOptions) bool {
	managers, workers := count(env, batch)
	return managers == o.Managers && workers == o.Workers
}

func number(s providers.Spec) int {
	return providers.Machine{Env: s.Env, Name: s.Name, Role: s.Role}.Number()
}

func roleOf(env, name string) providers.Role {
	if (providers.Machine{Env: env, Name: name, Role: providers.Manager}).Number() > 0 {
		return providers.Manager
	}
	return providers.Worker
}

// numbered gives n names after the highest number in use: that of a node that
// was removed from between is not given again.
func numbered(env string, role providers.Role, n int, all []providers.Machine, others []string) []string {
	highest := 0
	for _, m := range all {
		if m.Role == role {
			highest = max(highest, m.Number())
		}
	}
	for _, name := range others {
		highest = max(highest, (providers.Machine{Env: env, Name: name, Role: role}).Number())
	}
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("%s-%s-%d", env, role, highest+1+i))
	}
	return names
}

func specs(env string, names, batch []string, o CreateOptions) []providers.Spec {
	var all []providers.Spec
	for i, name := range names {
		s := providers.Spec{
			Env: env, Name: name, Role: roleOf(env, name), Driver: o.Driver,
			Size: o.Size, Image: o.Image, Options: o.Options, Install: o.Install, Private: o.Private, Batch: batch,
		}
		if i < len(o.Hosts) { // managers come first in both
			s.Host = o.Hosts[i]
		}
		if len(o.Regions) > 0 {
			s.Region = o.Regions[i%len(o.Regions)]
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b providers.Spec) int { return cmp.Compare(a.Role, b.Role) })
	return all
}

package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"skep/images"
	"skep/probe"
	"skep/providers"
	"skep/swarm"

	"github.com/docker/docker/api/types/network"
	api "github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"
)

const (
	probeName    = "skep-probe" // of the service, its stack, its network and its containers
	probeTimeout = 4 * time.Minute
	probeTidy    = 30 * time.Second
	probeStarts  = 30 * time.Second // from its container to its port
)

// proof is one proving under way.
type proof struct {
	env     *Environment
	manager *swarm.Engine
	members []api.Node
	fresh   []string        // nodes that have just joined
	engines []*swarm.Engine // of all nodes that can run the probe
	image   string
}

// prove shows that data gets from container to container, in bulk, between each
// node that has just joined and every other one, and fails naming a pair
// between which it does not. Before, it measures how large packets may be, so
// that networks are made for that; what is there only for the proof goes again.
//
// Nodes on one computer are spared it: nothing is between them.
func (e *Environment) prove(ctx context.Context, manager *swarm.Engine, all, fresh []providers.Machine) error {
	if len(remote(all)) == 0 {
		return nil
	}
	p := &proof{env: e, manager: manager, fresh: names(fresh)}
	defer p.tidy(ctx)
	if err := p.prepare(ctx, all); err != nil {
		return fmt.Errorf("prove that data gets from node to node: %w", err)
	}
	if p.image == "" || len(p.engines) < 2 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, probeTimeout, errors.New("the way between nodes was not proven within "+probeTimeout.String()))
	defer cancel()
	if err := p.measure(ctx); err != nil {
		return err
	}
	return p.transfer(ctx)
}

// prepare brings skep's own image to the nodes that can run it.
func (p *proof) prepare(ctx context.Context, all []providers.Machine) error {
	var err error
	if p.members, err = p.manager.Members(ctx); err != nil {
		return err
	}
	// What a run that was killed has left.
	if _, err := p.manager.RemoveStack(ctx, probeName); err != nil {
		return err
	}
	parcel, err := self()
	if err != nil {
		p.env.Log.Warn("it is not proven that data gets from node to node: set "+images.SelfVariable+" to a skep that is built for linux, with CGO_ENABLED=0", "error", err)
		return nil
	}
	for _, m := range all {
		n, ok := swarm.Member(p.members, m.Name)
		if !ok || !m.Running || !swarm.Ready(n) || n.Spec.Availability != api.NodeAvailabilityActive {
			continue
		}
		engine, err := p.env.engine(ctx, m)
		if err != nil {
			p.env.Log.Warn("it is not proven that data gets to it", "node", m.Name, "error", err)
			continue
		}
		p.engines = append(p.engines, engine)
	}
	fit := swarm.Fitting(p.members, p.engines, parcel.Platform.Architecture)
	for _, engine := range p.engines {
		if !slices.Contains(fit, engine) {
			p.env.Log.Warn("it is not proven that data gets to it: it does not run what is built for "+parcel.Platform.Architecture, "node", engine.Node())
		}
	}
	if p.engines = fit; len(fit) < 2 {
		return nil
	}
	c := swarm.Carriage{
		Cargo: parcel, Name: parcel.Name, Members: p.members, Told: func(swarm.Sent) {},
		Begin: func(lacking int) {
			p.env.Log.Info(fmt.Sprintf("sending skep itself to %d of %d nodes, which prove the way between them", lacking, len(fit)))
		},
		Warn: func(node string, err error) {
			p.env.Log.Warn("skep could not be passed on; sending it from here", "node", node, "error", err)
		},
	}
	p.image, err = c.Bring(ctx, fit)
	return err
}

func self() (*images.Parcel, error) {
	file, err := images.SelfFile()
	if err != nil {
		return nil, err
	}
	return images.Self(file)
}

// measure labels nodes with the largest packet that gets to all others, and fits
// the ingress network to it. Both ends of a way measure it, for what comes back
// may have been cut.
func (p *proof) measure(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, engine := range p.engines {
		to := slices.DeleteFunc(slices.Clone(p.engines), func(other *swarm.Engine) bool {
			return other == engine || !slices.Contains(p.fresh, engine.Node()) && !slices.Contains(p.fresh, other.Node())
		})
		if len(to) > 0 {
			g.Go(func() error { return p.measureFrom(gctx, engine, to) })
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("measure how large packets may be between nodes: %w", err)
	}
	var err error
	if p.members, err = p.manager.Members(ctx); err != nil {
		return err
	}
	path := swarm.PathOf(p.members)
	if err := p.manager.FitIngress(ctx, path); err != nil {
		return err
	}
	warnings, err := p.manager.TooWide(ctx, path)
	for _, w := range warnings {
		p.env.Log.Warn(w)
	}
	return err
}

func (p *proof) measureFrom(ctx context.Context, engine *swarm.Engine, to []*swarm.Engine) error {
	command := []string{"probe", "mtu"}
	at := map[string]string{}
	for _, other := range to {
		n, _ := swarm.Member(p.members, other.Node())
		command, at[swarm.Address(n)] = append(command, swarm.Address(n)), other.Node()
	}
	out, err := engine.RunOnce(ctx, probeName, p.image, command)
	if err != nil {
		return err
	}
	var found map[string]int
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		return fmt.Errorf("%s said %.80q: %w", engine.Node(), out, err)
	}
	n, _ := swarm.Member(p.members, engine.Node())
	least, narrow := swarm.PathOf([]api.Node{n}).MTU, ""
	for address, mtu := range found {
		switch {
		case mtu == 0:
			p.env.Log.Info("no echo from "+at[address]+", so that nobody knows how large packets may be between them", "node", engine.Node())
		case mtu < least:
			least, narrow = mtu, at[address]
		}
	}
	if narrow == "" {
		return nil
	}
	p.env.Log.Info(fmt.Sprintf("packets of %d bytes at most get to %s: overlay networks are made for that", least, narrow), "node", engine.Node())
	return p.manager.Label(ctx, n.ID, map[string]string{swarm.LabelMTU: strconv.Itoa(least)})
}

// transfer runs the probe on all nodes, and has those that have joined move data.
func (p *proof) transfer(ctx context.Context) error {
	labels := map[string]string{swarm.LabelStack: probeName}
	path := swarm.PathOf(p.members)
	if _, err := p.manager.Overlay(ctx, probeName, network.CreateOptions{Labels: labels}, path); err != nil {
		return err
	}
	grace := 100 * time.Millisecond
	var on []string
	for _, e := range p.engines {
		on = append(on, e.Node())
	}
	first, _ := swarm.Member(p.members, on[0])
	_, err := p.manager.Apply(ctx, api.ServiceSpec{
		Annotations: api.Annotations{Name: probeName, Labels: labels},
		TaskTemplate: api.TaskSpec{
			ContainerSpec: &api.ContainerSpec{Image: p.image, Args: []string{"probe", "serve"}, Labels: labels, ReadOnly: true, StopGracePeriod: &grace},
			Networks:      []api.NetworkAttachmentConfig{{Target: probeName}},
			Placement:     &api.Placement{Constraints: []string{"node.platform.arch==" + first.Description.Platform.Architecture}},
		},
		Mode:         api.ServiceMode{Global: &api.GlobalService{}},
		EndpointSpec: &api.EndpointSpec{Mode: api.ResolutionModeDNSRR},
	}, "")
	if err != nil {
		return err
	}
	tasks, err := p.manager.RunningOn(ctx, probeName, on)
	if err != nil {
		return fmt.Errorf("prove that data gets from node to node: %w", err)
	}
	errs := make([]error, len(p.engines))
	g, gctx := errgroup.WithContext(ctx)
	for i, engine := range p.engines {
		if slices.Contains(p.fresh, engine.Node()) {
			g.Go(func() error {
				errs[i] = p.transferFrom(gctx, engine, tasks, path.Encrypt)
				return nil
			})
		}
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// transferFrom has the probe on one node move data to and from all others. A
// pair of two that have joined is the first one's.
func (p *proof) transferFrom(ctx context.Context, engine *swarm.Engine, tasks []swarm.Task, encrypted bool) error {
	var mine swarm.Task
	at := map[string]string{}
	for _, t := range tasks {
		switch {
		case t.Node == engine.Node():
			mine = t
		case !slices.Contains(p.fresh, t.Node) || t.Node > engine.Node():
			at[t.Address] = t.Node
		}
	}
	if len(at) == 0 {
		return nil
	}
	var to []string
	for address := range at {
		to = append(to, address)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return patiently(ctx, func() (net.Conn, error) { return engine.Dial(ctx, mine.Container, probe.Port) })
	}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+probeName+"/try?to="+url.QueryEscape(strings.Join(to, " ")), nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("ask the probe on %s: %w", engine.Node(), err)
	}
	defer func() { _ = answer.Body.Close() }()
	var results []probe.Result
	if err := json.NewDecoder(answer.Body).Decode(&results); err != nil {
		return fmt.Errorf("ask the probe on %s: %w", engine.Node(), err)
	}
	var errs []error
	for _, result := range results {
		errs = append(errs, verdict(engine.Node(), at[result.To], result, encrypted))
	}
	return errors.Join(errs...)
}

// patiently dials what has been started and may not listen yet.
func patiently(ctx context.Context, dial func() (net.Conn, error)) (net.Conn, error) {
	patient, cancel := context.WithTimeout(ctx, probeStarts)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := dial()
		if err == nil {
			return conn, nil
		}
		select {
		case <-patient.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

// verdict says what does not get from one node to another, and what to do.
func verdict(from, to string, r probe.Result, encrypted bool) error {
	switch {
	case !r.Small:
		open := "UDP 4789 and TCP and UDP 7946"
		if encrypted {
			open += " and ESP (IP protocol 50)"
		}
		// Docker Engine 20.10 may keep the gossip's keys of a swarm that it has left
		// until it starts again, and then never finds its new neighbours.
		return fmt.Errorf("nothing gets from a container on %s to one on %s (%s): open %s between them, and where one was in another swarm before, restart Docker there",
			from, to, r.Words, open)
	case !r.Large:
		return fmt.Errorf("between containers on %s and %s small packets pass and large ones do not (%s): give the nodes' links the MTU that the way between them has, or let ICMP through, so that skep can measure it",
			from, to, r.Words)
	}
	return nil
}

// tidy removes what was there for the proof alone, even after Ctrl-C.
func (p *proof) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTidy)
	defer cancel()
	if _, err := p.manager.RemoveStack(ctx, probeName); err != nil {
		p.env.Log.Warn("the probe is still there; the next create removes it", "error", err)
	}
}

package swarm

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	api "github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"
)

const (
	// A manager learns of a change later than the node that it happens on: for
	// so long after an event it is asked again and again.
	hotTime  = 5 * time.Second
	hotEvery = 200 * time.Millisecond
	// Events can be lost: so often a manager is asked while services are used,
	// and while they are not.
	usedEvery = 2 * time.Second
	idleEvery = 20 * time.Second
	inUse     = time.Minute

	lookTimeout  = 3 * time.Second
	retryWatch   = time.Second
	forgottenFor = 10 * time.Minute // a service that is not dialled any more
)

// watch looks at the swarm whenever something happened, and now and then.
func (f *Follower) watch() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-f.wake:
		case <-timer.C:
		}
		f.refresh()
		timer.Reset(f.pause())
	}
}

// pause is until the next look that nobody asks for.
func (f *Follower) pause() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Now().Before(f.hot) {
		return hotEvery
	}
	for _, at := range f.used {
		if time.Since(at) < inUse {
			return usedEvery
		}
	}
	return idleEvery
}

// refresh takes a look at the swarm.
func (f *Follower) refresh() {
	f.mu.Lock()
	asked := f.asked
	f.mu.Unlock()
	r, err := f.ask(f.ctx)
	if f.ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell(err)
	f.err = err
	different := f.answered != asked
	f.answered = asked
	if err == nil {
		var other bool
		f.seen, other = f.seen.next(f.ctx, r, f.dead)
		different = different || other
		f.buryLocked(r)
		f.hearLocked(r)
	}
	if different {
		f.changedLocked()
	}
}

// tell logs when managers begin and cease to answer.
func (f *Follower) tell(err error) {
	switch {
	case err != nil && f.err == nil:
		f.log.Warn("no manager answers, going on with the tasks that are known", "error", err)
	case err == nil && f.err != nil:
		f.log.Info("a manager answers again")
	}
}

// ask asks a manager for all that matters.
func (f *Follower) ask(ctx context.Context) (report, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	manager, err := f.ways.Manager(ctx)
	if err != nil {
		return report{}, err
	}
	r := report{manager: manager.Node()}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		r.services, err = manager.ServiceList(ctx, api.ServiceListOptions{})
		return err
	})
	g.Go(func() (err error) {
		r.tasks, err = manager.TaskList(ctx, api.TaskListOptions{})
		return err
	})
	g.Go(func() (err error) {
		r.nodes, err = manager.NodeList(ctx, api.NodeListOptions{})
		return err
	})
	return r, g.Wait()
}

// buryLocked forgets the dead that the managers know to be dead, too.
func (f *Follower) buryLocked(r report) {
	for id := range f.dead {
		said := false
		for _, t := range r.tasks {
			said = said || t.Status.State == api.TaskStateRunning && t.Status.ContainerStatus != nil && t.Status.ContainerStatus.ContainerID == id
		}
		if !said {
			delete(f.dead, id)
		}
	}
}

// hearLocked sees that the events are heard of a manager and of each node that
// has a task of a service in use, and that nothing is kept of others.
func (f *Follower) hearLocked(r report) {
	wanted := map[string]bool{r.manager: true}
	for service, at := range f.used {
		if time.Since(at) > forgottenFor {
			delete(f.used, service)
		}
	}
	for _, t := range f.seen.tasks {
		if !f.used[t.Service].IsZero() {
			wanted[t.Node] = true
		}
	}
	for node, stop := range f.watched {
		if !wanted[node] {
			stop()
			delete(f.watched, node)
		}
	}
	for node := range wanted {
		if f.watched[node] == nil && f.ctx.Err() == nil {
			ctx, stop := context.WithCancel(f.ctx)
			f.watched[node] = stop
			f.running.Go(func() { f.hear(ctx, node) })
		}
	}
	there := map[string]bool{}
	for _, n := range r.nodes {
		there[n.Description.Hostname] = true
	}
	for node, pool := range f.pools {
		if !there[node] {
			delete(f.pools, node)
			f.running.Go(pool.Close)
		}
	}
}

// hear hears a node's events until ctx is done.
func (f *Follower) hear(ctx context.Context, node string) {
	for ctx.Err() == nil {
		f.stream(ctx, node)
		timer := time.NewTimer(retryWatch)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// stream takes a node's events until they break off.
func (f *Follower) stream(ctx context.Context, node string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	connecting, done := context.WithTimeout(ctx, lookTimeout)
	engine, err := f.ways.Engine(connecting, node)
	done()
	if err != nil {
		return
	}
	messages, broken := engine.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", "container"), filters.Arg("type", "service"), filters.Arg("type", "node"),
		filters.Arg("event", "start"), filters.Arg("event", "die"),
		filters.Arg("event", "create"), filters.Arg("event", "update"), filters.Arg("event", "remove"),
	)})
	f.look() // for what happened before
	for {
		select {
		case m := <-messages:
			f.happened(m)
		case <-broken:
			return
		case <-engine.Conn().Done():
			return
		}
	}
}

// happened takes an event in. One of a container that is no task's is not of
// interest.
func (f *Follower) happened(m events.Message) {
	if m.Type == events.ContainerEventType && m.Actor.Attributes["com.docker.swarm.service.name"] == "" {
		return
	}
	f.mu.Lock()
	f.hot = time.Now().Add(hotTime)
	if m.Type == events.ContainerEventType && m.Action == events.ActionDie {
		f.dead[m.Actor.ID] = true
		if t := f.seen.tasks[m.Actor.ID]; t != nil {
			delete(f.seen.tasks, m.Actor.ID)
			t.end()
			f.log.Info("a task ended", "node", t.Node, "service", t.Service)
			f.changedLocked()
		}
	}
	f.mu.Unlock()
	f.look()
}

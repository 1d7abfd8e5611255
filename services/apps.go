package services

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"skep/swarm"
	"skep/usage"

	api "github.com/docker/docker/api/types/swarm"
)

// labelImage is on a service the reference that its image was asked for by.
const labelImage = "skep.image"

// AppService is one service of an app: a row of `app ls`. An app of a compose
// file has several.
type AppService struct {
	App     string    `json:"app"`
	Service string    `json:"service"`
	Image   string    `json:"image"`
	Running int       `json:"running"`
	Wanted  int       `json:"wanted"`
	Ports   []string  `json:"ports"`  // published:target/protocol
	Update  string    `json:"update"` // state of the last update, "" for none
	Updated time.Time `json:"updated"`
}

// Apps lists the services of all apps, or of the one that is named.
func (x Executor) Apps(ctx context.Context, name string) ([]AppService, error) {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return nil, err
	}
	found, err := appServices(ctx, manager, name)
	if err != nil {
		return nil, err
	}
	rows := []AppService{} // never nil: it becomes JSON
	for _, s := range found {
		row := AppService{
			App: strings.TrimPrefix(s.Spec.Labels[swarm.LabelStack], appPrefix), Service: s.Spec.Name,
			Image: cmp.Or(s.Spec.Labels[labelImage], s.Spec.TaskTemplate.ContainerSpec.Image), Ports: []string{}, Updated: s.UpdatedAt,
		}
		if s.UpdateStatus != nil {
			row.Update = string(s.UpdateStatus.State)
		}
		if s.Spec.EndpointSpec != nil {
			for _, p := range s.Spec.EndpointSpec.Ports {
				row.Ports = append(row.Ports, fmt.Sprintf("%d:%d/%s", p.PublishedPort, p.TargetPort, p.Protocol))
			}
		}
		tasks, err := manager.Running(ctx, s.Spec.Name)
		if err != nil {
			return nil, err
		}
		row.Running = len(tasks)
		if row.Wanted, err = manager.Wanted(ctx, s.Spec.Name); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// appServices are the services of all apps by name; with a name those of that
// app, or the one service of an app that is called so.
func appServices(ctx context.Context, manager *swarm.Engine, name string) ([]api.Service, error) {
	all, err := manager.ServiceList(ctx, api.ServiceListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the services: %w", err)
	}
	var apps, named []api.Service
	for _, s := range all {
		stack := s.Spec.Labels[swarm.LabelStack]
		if !strings.HasPrefix(stack, appPrefix) {
			continue
		}
		switch name {
		case strings.TrimPrefix(stack, appPrefix), "":
			apps = append(apps, s)
		case s.Spec.Name:
			named = append(named, s)
		}
	}
	if len(apps) == 0 {
		apps = named
	}
	if name != "" && len(apps) == 0 {
		return nil, fmt.Errorf("there is no app %s: `skep app ls ENV` lists those there are", name)
	}
	slices.SortFunc(apps, func(a, b api.Service) int { return cmp.Compare(a.Spec.Name, b.Spec.Name) })
	return apps, nil
}

// AppTask is one task of an app: a row of `app ps`.
type AppTask struct {
	Task  string    `json:"task"` // service.slot, or service.node of a global one
	ID    string    `json:"id"`
	Node  string    `json:"node"`
	State string    `json:"state"`
	Since time.Time `json:"since"`
	Error string    `json:"error"`
}

// AppTasks lists the tasks of an app, those that run first; past ones, too,
// where all is set.
func (x Executor) AppTasks(ctx context.Context, name string, all bool) ([]AppTask, error) {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return nil, err
	}
	found, err := appServices(ctx, manager, name)
	if err != nil {
		return nil, err
	}
	names, err := hostnames(ctx, manager)
	if err != nil {
		return nil, err
	}
	rows := []AppTask{}
	for _, s := range found {
		tasks, err := manager.Tasks(ctx, s.Spec.Name)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(tasks, func(a, b api.Task) int {
			return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(names[a.NodeID], names[b.NodeID]), b.CreatedAt.Compare(a.CreatedAt))
		})
		for _, t := range tasks {
			if !all && t.DesiredState != api.TaskStateRunning {
				continue
			}
			rows = append(rows, AppTask{
				Task: taskName(s.Spec.Name, t, names), ID: t.ID, Node: names[t.NodeID],
				State: string(t.Status.State), Since: t.Status.Timestamp, Error: t.Status.Err,
			})
		}
	}
	return rows, nil
}

// taskName is hello.2, or hello.dev-worker-1 for a service on every node.
func taskName(service string, t api.Task, names map[string]string) string {
	if t.Slot == 0 {
		return service + "." + cmp.Or(names[t.NodeID], "-")
	}
	return fmt.Sprintf("%s.%d", service, t.Slot)
}

func hostnames(ctx context.Context, manager *swarm.Engine) (map[string]string, error) {
	members, err := manager.Members(ctx)
	names := map[string]string{}
	for _, n := range members {
		names[n.ID] = n.Description.Hostname
	}
	return names, err
}

// ScaleApp brings an app's one service to so many tasks, and returns once all
// of them run.
func (x Executor) ScaleApp(ctx context.Context, name string, to int) (swarm.Change, error) {
	if to < 0 {
		return "", usage.Errorf("the number of replicas cannot be negative")
	}
	manager, unlock, err := x.changing(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	s, err := oneService(ctx, manager, name)
	if err != nil {
		return "", err
	}
	if s.Spec.Mode.Replicated == nil {
		return "", fmt.Errorf("%s runs once on every node: it has no scale", s.Spec.Name)
	}
	if hostPorts(s.Spec) {
		constraints := []string{}
		if p := s.Spec.TaskTemplate.Placement; p != nil {
			constraints = p.Constraints
		}
		g, err := x.ground(ctx, manager, nil, AppOptions{Name: name, Placement: Placement{Constraints: constraints}})
		if err != nil {
			return "", err
		}
		if to > g.Nodes {
			return "", usage.Errorf("%d replicas on %d nodes: a port that %s publishes takes a node each", to, g.Nodes, s.Spec.Name)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, deployTimeout, fmt.Errorf("%s was not at %d tasks within %s", name, to, deployTimeout))
	defer cancel()
	change, err := manager.Scale(ctx, s.Spec.Name, to)
	if err != nil {
		return "", err
	}
	x.Log.Info("service " + s.Spec.Name + " " + string(change))
	err = manager.Converge(ctx, s.Spec.Name, change, appSettle)
	if err != nil {
		x.tellWords(ctx, err)
	}
	return change, err
}

func hostPorts(s api.ServiceSpec) bool {
	return s.EndpointSpec != nil && slices.ContainsFunc(s.EndpointSpec.Ports, func(p api.PortConfig) bool {
		return p.PublishMode == api.PortConfigPublishModeHost
	})
}

// oneService is the service of an app that has no other.
func oneService(ctx context.Context, manager *swarm.Engine, name string) (api.Service, error) {
	found, err := appServices(ctx, manager, name)
	if err != nil {
		return api.Service{}, err
	}
	if len(found) > 1 {
		var names []string
		for _, s := range found {
			names = append(names, s.Spec.Name)
		}
		return api.Service{}, usage.Errorf("%s has several services: name one of %s", name, strings.Join(names, ", "))
	}
	return found[0], nil
}

// RollbackApp puts back the version before of the services that an app's last
// deploy changed, and names them.
func (x Executor) RollbackApp(ctx context.Context, name string) ([]string, error) {
	manager, unlock, err := x.changing(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	found, err := appServices(ctx, manager, name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, deployTimeout, fmt.Errorf("%s was not back within %s", name, deployTimeout))
	defer cancel()
	last := 0
	for _, s := range found {
		last = max(last, swarm.DeployOf(s.Spec))
	}
	var back []string
	for _, s := range found {
		// What the swarm kept may be no version but another scale, or one that was
		// taken back; and the last deploy need not have touched all services.
		if s.PreviousSpec == nil || swarm.DeployOf(s.Spec) != last || swarm.DeployOf(*s.PreviousSpec) >= last {
			continue
		}
		if err := manager.Rollback(ctx, s.Spec.Name); err != nil {
			x.tellWords(ctx, err)
			return nil, err
		}
		back = append(back, s.Spec.Name)
		x.Log.Info("service " + s.Spec.Name + " is the version before")
	}
	if len(back) == 0 {
		return nil, fmt.Errorf("the swarm keeps no version of %s from before its last deploy (it forgets it at a change of the scale and at a deploy that fails): deploy the one that you want; nothing was changed", name)
	}
	return back, x.Env.UpdateFirewall(ctx)
}

// changing gives a manager, with the environment locked.
func (x Executor) changing(ctx context.Context) (*swarm.Engine, func(), error) {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := x.Env.Lock(ctx)
	return manager, unlock, err
}

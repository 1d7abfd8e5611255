package swarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/pkg/stdcopy"
)

const (
	// A task that fails this often will not come up by being tried again.
	failuresAllowed = 3
	// So long may a task find no node before that is taken for final.
	placementPatience = 10 * time.Second
)

// Converge waits until every task that the service should have runs the spec
// that Apply left, and has done so for the settling time. It fails early, with
// the task's own error and last words, where tasks keep failing, and where the
// update that Apply began was paused or rolled back.
func (e *Engine) Converge(ctx context.Context, name string, change Change, settle time.Duration) error {
	old, err := e.failed(ctx, name)
	if err != nil {
		return err
	}
	w := &waiting{engine: e, name: name, change: change, old: old, settle: settle}
	var final error
	err = poll(ctx, func() (string, error) {
		what, err := w.look(ctx)
		var ended *TaskError
		if errors.As(err, &ended) {
			final = err
			return "", nil
		}
		return what, err
	})
	if final != nil {
		return final
	}
	if err != nil {
		return fmt.Errorf("wait for service %s: %w", name, err)
	}
	return nil
}

// TaskError is a service whose tasks do not come up.
type TaskError struct {
	Service, Node string
	Reason        string
	Words         string // the last lines that the task wrote
}

func (e *TaskError) Error() string {
	text := "service " + e.Service + " does not come up: "
	if e.Node != "" {
		text += "on " + e.Node + ": "
	}
	text += e.Reason
	if e.Words != "" {
		text += "; it said: " + e.Words
	}
	return text
}

// failed lists the tasks that had failed before.
func (e *Engine) failed(ctx context.Context, name string) (map[string]bool, error) {
	tasks, err := e.Tasks(ctx, name)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, t := range tasks {
		if hasFailed(t) {
			ids[t.ID] = true
		}
	}
	return ids, nil
}

func hasFailed(t api.Task) bool {
	return t.Status.State == api.TaskStateFailed || t.Status.State == api.TaskStateRejected
}

// Tasks lists all tasks of a service, past ones included.
func (e *Engine) Tasks(ctx context.Context, service string) ([]api.Task, error) {
	tasks, err := e.TaskList(ctx, api.TaskListOptions{Filters: filter("service", service)})
	if err != nil {
		return nil, fmt.Errorf("list the tasks of %s: %s", service, brief(err))
	}
	return tasks, nil
}

// waiting is the state of one Converge.
type waiting struct {
	engine  *Engine
	name    string
	change  Change
	old     map[string]bool // tasks that failed before
	settle  time.Duration
	since   time.Time // converged since
	pending time.Time // a task without a node since
}

// look says what is missing, or fails for good with a TaskError.
func (w *waiting) look(ctx context.Context) (string, error) {
	s, err := w.engine.Service(ctx, w.name)
	if errdefs.IsNotFound(err) {
		return "", &TaskError{Service: w.name, Reason: "it was removed meanwhile"}
	}
	if err != nil {
		return "", err
	}
	tasks, err := w.engine.Tasks(ctx, w.name)
	if err != nil {
		return "", err
	}
	if err := w.failing(ctx, tasks); err != nil {
		return "", err
	}
	if err := w.unplaced(tasks); err != nil {
		return "", err
	}
	if u := s.UpdateStatus; u != nil && u.State != api.UpdateStateCompleted {
		switch u.State {
		case api.UpdateStateUpdating, api.UpdateStateRollbackStarted:
			w.since = time.Time{}
			return "the update is under way", nil
		default:
			if w.change != Updated {
				break // the end of an earlier update
			}
			return "", &TaskError{Service: w.name, Reason: string(u.State) + ": " + u.Message}
		}
	}
	running := 0
	spec := s.Spec.TaskTemplate.ContainerSpec.Labels[LabelSpec]
	for _, t := range tasks {
		if t.DesiredState == api.TaskStateRunning && t.Status.State == api.TaskStateRunning && t.Spec.ContainerSpec.Labels[LabelSpec] == spec {
			running++
		}
	}
	want, err := w.engine.wanted(ctx, s, Ready)
	if err != nil {
		return "", err
	}
	if running < want {
		w.since = time.Time{}
		return fmt.Sprintf("%d of %d tasks run", running, want), nil
	}
	if w.since.IsZero() {
		w.since = time.Now()
	}
	if time.Since(w.since) < w.settle {
		return "it has just come up", nil
	}
	return "", nil
}

// failing ends the waiting when new failures are too many.
func (w *waiting) failing(ctx context.Context, tasks []api.Task) error {
	failures := map[string]int{} // by the place that the task is for
	most := 0
	var last api.Task
	for _, t := range tasks {
		if !hasFailed(t) || w.old[t.ID] {
			continue
		}
		place := fmt.Sprint(t.Slot)
		if t.Slot == 0 { // of a global service
			place = t.NodeID
		}
		failures[place]++
		most = max(most, failures[place])
		if t.Status.Timestamp.After(last.Status.Timestamp) {
			last = t
		}
	}
	if most < failuresAllowed {
		return nil
	}
	return &TaskError{Service: w.name, Node: w.engine.hostname(ctx, last.NodeID), Reason: last.Status.Err, Words: w.engine.taskWords(ctx, last.ID)}
}

// unplaced ends the waiting when the scheduler finds no node for a task.
func (w *waiting) unplaced(tasks []api.Task) error {
	for _, t := range tasks {
		if t.Status.State == api.TaskStatePending && t.DesiredState == api.TaskStateRunning && t.Status.Err != "" {
			if w.pending.IsZero() {
				w.pending = time.Now()
			}
			if time.Since(w.pending) > placementPatience {
				return &TaskError{Service: w.name, Reason: t.Status.Err}
			}
			return nil
		}
	}
	w.pending = time.Time{}
	return nil
}

func (e *Engine) hostname(ctx context.Context, id string) string {
	n, _, err := e.NodeInspectWithRaw(ctx, id)
	if err != nil {
		return id
	}
	return n.Description.Hostname
}

// taskWords are the last lines of a task's log, in one line.
func (e *Engine) taskWords(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	logs, err := e.TaskLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "3"})
	if err != nil {
		return ""
	}
	defer func() { _ = logs.Close() }()
	var out bytes.Buffer
	_, _ = stdcopy.StdCopy(&out, &out, logs)
	return strings.ReplaceAll(strings.TrimSpace(out.String()), "\n", " | ")
}

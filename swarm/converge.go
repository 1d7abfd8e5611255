package swarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
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
	// So many lines of a task's log are kept, and so many go into an error.
	wordsKept, wordsInLine = 20, 3
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
	Container     string // of the task, on that node
	Health        string // what its healthcheck found last
	RolledBack    bool   // the service is as it was before
}

func (e *TaskError) Error() string {
	text := "service " + e.Service + " does not come up: "
	if e.Node != "" {
		text += "on " + e.Node + ": "
	}
	text += e.Reason
	if e.Health != "" {
		text += "; its healthcheck: " + lastWords(e.Health)
	} else if e.Words != "" {
		text += "; it said: " + lastWords(e.Words)
	}
	if e.RolledBack {
		text += "; the version before was put back"
	}
	return text
}

// lastWords are the last few lines in one.
func lastWords(text string) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-wordsInLine):], " | ")
}

// failed lists the tasks that had failed before.
func (e *Engine) failed(ctx context.Context, name string) (map[string]bool, error) {
	tasks, err := e.Tasks(ctx, name)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, t := range tasks {
		if hasFailed(t) || hasEnded(t) {
			ids[t.ID] = true
		}
	}
	return ids, nil
}

// hasEnded says whether a task ended by itself and well, which one that should
// run for good does not: a program that drains exits so when the engine stops
// it because its healthcheck fails.
func hasEnded(t api.Task) bool { return t.Status.State == api.TaskStateComplete && !mayEnd(t) }

// mayEnd says whether the task is done once it has ended well.
func mayEnd(t api.Task) bool {
	p := t.Spec.RestartPolicy
	return p != nil && p.Condition != "" && p.Condition != api.RestartPolicyConditionAny
}

// attempts is how often a task that fails is worth waiting for.
func attempts(p *api.RestartPolicy) int {
	switch {
	case p != nil && p.Condition == api.RestartPolicyConditionNone:
		return 1
	case p != nil && p.MaxAttempts != nil && *p.MaxAttempts > 0 && *p.MaxAttempts < failuresAllowed:
		return int(*p.MaxAttempts) + 1 // #nosec G115 -- it is less than a few
	}
	return failuresAllowed
}

// place is what a task is one of a succession for: a number of its service's, or
// the node of a service that is on every one.
func place(t api.Task) string {
	if t.Slot == 0 {
		return t.NodeID
	}
	return strconv.Itoa(t.Slot)
}

// unhealthy says whether a task that ended was ended for its healthcheck's sake.
func unhealthy(t api.Task) bool {
	c := t.Spec.ContainerSpec
	return strings.Contains(t.Status.Err, "unhealthy") || hasEnded(t) && c != nil && c.Healthcheck != nil
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
	since   time.Time  // converged since
	pending time.Time  // a task without a node since
	broken  *TaskError // why the swarm takes, or took, the update back
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
	if err := w.failing(ctx, s, tasks); err != nil {
		return "", err
	}
	if err := w.unplaced(tasks); err != nil {
		return "", err
	}
	if what, err := w.updating(s.UpdateStatus); what != "" || err != nil {
		return what, err
	}
	return w.serving(ctx, s, tasks)
}

// updating says how far the swarm is with the update.
func (w *waiting) updating(u *api.UpdateStatus) (string, error) {
	if u == nil || u.State == api.UpdateStateCompleted {
		return "", nil
	}
	switch u.State {
	case api.UpdateStateUpdating, api.UpdateStateRollbackStarted:
		w.since = time.Time{}
		return "the update is under way", nil
	case api.UpdateStateRollbackCompleted:
		if w.change != Updated {
			return "", nil // the end of an earlier update
		}
		if w.broken == nil {
			w.broken = &TaskError{Service: w.name, Reason: u.Message}
		}
		w.broken.RolledBack = true
		return "", nil
	default:
		if w.change != Updated {
			return "", nil
		}
		if w.broken != nil {
			w.broken.Reason = fmt.Sprintf("%s (%s: %s)", w.broken.Reason, u.State, u.Message)
			return "", w.broken
		}
		return "", &TaskError{Service: w.name, Reason: string(u.State) + ": " + u.Message}
	}
}

// serving says whether all tasks run what the service's spec is now, or have
// done so where they may end.
func (w *waiting) serving(ctx context.Context, s api.Service, tasks []api.Task) (string, error) {
	served := map[string]bool{}
	spec := s.Spec.TaskTemplate.ContainerSpec.Labels[LabelSpec]
	for _, t := range tasks {
		runs := t.DesiredState == api.TaskStateRunning && t.Status.State == api.TaskStateRunning
		if (runs || t.Status.State == api.TaskStateComplete && mayEnd(t)) && t.Spec.ContainerSpec.Labels[LabelSpec] == spec {
			served[place(t)] = true
		}
	}
	running := len(served)
	want, err := w.engine.wanted(ctx, s, Ready)
	if err != nil {
		return "", err
	}
	if running < want {
		w.since = time.Time{}
		return fmt.Sprintf("%d of %d tasks run", running, want), nil
	}
	if w.broken != nil && w.broken.RolledBack {
		return "", w.broken
	}
	if w.since.IsZero() {
		w.since = time.Now()
	}
	// An update that is completed has been watched by the swarm.
	watched := w.change == Updated && s.UpdateStatus != nil && s.UpdateStatus.State == api.UpdateStateCompleted
	if !watched && time.Since(w.since) < w.settle {
		return "it has just come up", nil
	}
	return "", nil
}

// RollsBack says whether the swarm takes back an update of the service that fails.
func RollsBack(s api.ServiceSpec) bool {
	return s.UpdateConfig != nil && s.UpdateConfig.FailureAction == api.UpdateFailureActionRollback
}

// failing ends the waiting when new failures are too many. Of an update that
// the swarm takes back it keeps the first failure, while its log is there.
func (w *waiting) failing(ctx context.Context, s api.Service, tasks []api.Task) error {
	failures := map[string]int{} // by the place that the task is for
	most := 0
	var last api.Task
	for _, t := range tasks {
		if !hasFailed(t) && !hasEnded(t) || w.old[t.ID] {
			continue
		}
		failures[place(t)]++
		if unhealthy(t) { // which took its time already
			failures[place(t)] = failuresAllowed
		}
		most = max(most, failures[place(t)])
		if t.Status.Timestamp.After(last.Status.Timestamp) {
			last = t
		}
	}
	takenBack := w.change == Updated && RollsBack(s.Spec) && s.UpdateStatus != nil && s.UpdateStatus.State != api.UpdateStateCompleted
	if most < attempts(s.Spec.TaskTemplate.RestartPolicy) && (!takenBack || most == 0) || takenBack && w.broken != nil {
		return nil
	}
	failure := w.engine.failure(ctx, w.name, last)
	if takenBack {
		w.broken = failure
		return nil
	}
	return failure
}

// LastHealth is what a container's healthcheck wrote last, if it has one and
// that failed.
func (e *Engine) LastHealth(ctx context.Context, id string) string {
	c, err := e.ContainerInspect(ctx, id)
	if err != nil || c.State == nil || c.State.Health == nil || len(c.State.Health.Log) == 0 {
		return ""
	}
	last := c.State.Health.Log[len(c.State.Health.Log)-1]
	if last.ExitCode == 0 {
		return ""
	}
	return fmt.Sprintf("exit code %d: %s", last.ExitCode, strings.TrimSpace(last.Output))
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

// failure tells how a task ended.
func (e *Engine) failure(ctx context.Context, service string, t api.Task) *TaskError {
	f := &TaskError{Service: service, Node: e.hostname(ctx, t.NodeID), Reason: t.Status.Err, Words: e.taskWords(ctx, t)}
	if t.Status.ContainerStatus != nil {
		f.Container = t.Status.ContainerStatus.ContainerID
	}
	if f.Reason == "" {
		f.Reason = "it ended"
	}
	return f
}

func (e *Engine) hostname(ctx context.Context, id string) string {
	n, _, err := e.NodeInspectWithRaw(ctx, id)
	if err != nil {
		return id
	}
	return n.Description.Hostname
}

// taskWords are the last lines of a task's log.
func (e *Engine) taskWords(ctx context.Context, t api.Task) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	logs, err := e.TaskLogs(ctx, t.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(wordsKept)})
	if err != nil {
		return ""
	}
	defer func() { _ = logs.Close() }()
	var out bytes.Buffer
	_ = CopyLogs(&out, &out, logs, t.Spec.ContainerSpec)
	return strings.TrimSpace(out.String())
}

// CopyLogs takes the logs of containers of a spec apart. With a terminal they are
// one stream, as it is.
func CopyLogs(out, errs io.Writer, logs io.Reader, c *api.ContainerSpec) error {
	if c != nil && c.TTY {
		_, err := io.Copy(out, logs)
		return err
	}
	_, err := stdcopy.StdCopy(out, errs, logs)
	return err
}

package services

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"skep/swarm"

	"github.com/docker/docker/api/types/container"
	api "github.com/docker/docker/api/types/swarm"
)

// LogOptions say which lines of an app's logs are wanted.
type LogOptions struct {
	Follow bool
	Tail   int    // last lines of each task, below 0 for all
	Since  string // a time, or a span such as 10m; "" for all
}

// LogLine is a line that a task wrote.
type LogLine struct {
	Task   string    `json:"task"` // hello.2@dev-worker-1
	Stream string    `json:"stream"`
	Time   time.Time `json:"time"`
	Text   string    `json:"text"`
}

// AppLogs passes on what the tasks of an app write: with Follow as it comes,
// until ctx ends, else what there is, by time.
func (x Executor) AppLogs(ctx context.Context, name string, o LogOptions, each func(LogLine)) error {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return err
	}
	found, err := appServices(ctx, manager, name)
	if err != nil {
		return err
	}
	l := &logs{manager: manager, names: map[string]string{}, each: each}
	if !o.Follow {
		l.each = func(line LogLine) { l.lines = append(l.lines, line) }
	}
	errs := make([]error, len(found))
	var reading sync.WaitGroup
	for i, s := range found {
		reading.Go(func() { errs[i] = l.read(ctx, s, o) })
	}
	reading.Wait()
	slices.SortStableFunc(l.lines, func(a, b LogLine) int { return a.Time.Compare(b.Time) })
	for _, line := range l.lines {
		each(line)
	}
	return errors.Join(errs...)
}

// logs is the reading of an app's logs.
type logs struct {
	manager *swarm.Engine
	mu      sync.Mutex
	names   map[string]string // of tasks, by id
	lines   []LogLine
	each    func(LogLine)
}

func (l *logs) read(ctx context.Context, s api.Service, o LogOptions) error {
	options := container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Details: true, Follow: o.Follow, Since: o.Since, Tail: "all"}
	if o.Tail >= 0 {
		options.Tail = strconv.Itoa(o.Tail)
	}
	stream, err := l.manager.ServiceLogs(ctx, s.ID, options)
	if err != nil {
		return fmt.Errorf("read the logs of %s: %w", s.Spec.Name, err)
	}
	defer func() { _ = stream.Close() }()
	out, errs := l.writer(ctx, s.Spec.Name, "stdout"), l.writer(ctx, s.Spec.Name, "stderr")
	err = swarm.CopyLogs(out, errs, stream, s.Spec.TaskTemplate.ContainerSpec)
	out.close()
	errs.close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("read the logs of %s: %w", s.Spec.Name, err)
	}
	return nil
}

// lineWriter cuts a stream into lines.
type lineWriter struct {
	pipe *io.PipeWriter
	done chan struct{}
}

func (l *logs) writer(ctx context.Context, service, stream string) lineWriter {
	r, w := io.Pipe()
	lw := lineWriter{w, make(chan struct{})}
	go func() {
		defer close(lw.done)
		for in := bufio.NewReader(r); ; {
			text, err := in.ReadString('\n')
			if text != "" {
				l.line(ctx, service, stream, strings.TrimSuffix(text, "\n"))
			}
			if err != nil {
				return
			}
		}
	}()
	return lw
}

func (w lineWriter) Write(p []byte) (int, error) { return w.pipe.Write(p) }

func (w lineWriter) close() {
	_ = w.pipe.Close()
	<-w.done
}

// line reads a line of the engine's: a time, details as K=V,K=V, the text.
func (l *logs) line(ctx context.Context, service, stream, text string) {
	stamp, rest, _ := strings.Cut(text, " ")
	details, said, _ := strings.Cut(rest, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		said = text // not of the form that is known: better whole than lost
	}
	id := ""
	for pair := range strings.SplitSeq(details, ",") {
		if value, ok := strings.CutPrefix(pair, "com.docker.swarm.task.id="); ok {
			id = value
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.names[id]; !known {
		l.learn(ctx, service)
	}
	name := l.names[id]
	if name == "" {
		name = service
	}
	l.each(LogLine{Task: name, Stream: stream, Time: at, Text: said})
}

// learn names the service's tasks, some of which may be new.
func (l *logs) learn(ctx context.Context, service string) {
	tasks, err := l.manager.Tasks(ctx, service)
	if err != nil {
		return
	}
	hosts, err := hostnames(ctx, l.manager)
	if err != nil {
		return
	}
	for _, t := range tasks {
		l.names[t.ID] = taskName(service, t, hosts) + "@" + hosts[t.NodeID]
	}
}

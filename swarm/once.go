package swarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// removeTimeout is how long a container that was run once may take to go.
const removeTimeout = 20 * time.Second

// RunOnce runs a command in a container on the node's own network and returns
// what it printed. The container is gone afterwards, whatever happens, and one
// that a killed skep left goes first.
func (e *Engine) RunOnce(ctx context.Context, name, image string, command []string) (string, error) {
	remove := func(ctx context.Context) {
		_ = e.ContainerRemove(ctx, name, container.RemoveOptions{Force: true})
	}
	remove(ctx)
	made, err := e.ContainerCreate(ctx, &container.Config{Image: image, Cmd: command}, &container.HostConfig{NetworkMode: "host"}, nil, nil, name)
	if err != nil {
		return "", fmt.Errorf("run %s on %s: %s", name, e.Node(), brief(err))
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer cancel()
		remove(ctx)
	}()
	if err := e.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		return "", fmt.Errorf("run %s on %s: %s", name, e.Node(), brief(err))
	}
	ended, failed := e.ContainerWait(ctx, made.ID, container.WaitConditionNotRunning)
	var code int64
	select {
	case end := <-ended:
		code = end.StatusCode
	case err := <-failed:
		return "", fmt.Errorf("run %s on %s: %s", name, e.Node(), brief(err))
	}
	logs, err := e.ContainerLogs(ctx, made.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return "", fmt.Errorf("run %s on %s: %s", name, e.Node(), brief(err))
	}
	defer func() { _ = logs.Close() }()
	var out, words bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &words, logs)
	if code != 0 {
		err = errors.New(strings.TrimSpace(words.String()))
	}
	if err != nil {
		return "", fmt.Errorf("run %s on %s: %w", name, e.Node(), err)
	}
	return out.String(), nil
}

// RunningOn returns the service's tasks once one runs on each of the nodes.
func (e *Engine) RunningOn(ctx context.Context, service string, nodes []string) ([]Task, error) {
	var tasks []Task
	err := poll(ctx, func() (string, error) {
		var err error
		if tasks, err = e.Running(ctx, service); err != nil {
			return "", err
		}
		on := map[string]bool{}
		for _, t := range tasks {
			on[t.Node] = true
		}
		for _, n := range nodes {
			if !on[n] {
				return service + " does not run on " + n + e.failureOf(ctx, service), nil
			}
		}
		return "", nil
	})
	return tasks, err
}

// failureOf is why a task of the service did not start, if one did not.
func (e *Engine) failureOf(ctx context.Context, service string) string {
	tasks, _ := e.Tasks(ctx, service)
	for _, t := range tasks {
		if t.Status.Err != "" {
			return ": " + t.Status.Err
		}
	}
	return ""
}

package services

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"skep/swarm"

	"golang.org/x/sync/errgroup"
)

const (
	probeEvery   = 100 * time.Millisecond
	probeTimeout = 3 * time.Second
)

// waitReady asks every running task of the probes' services until each has
// answered. That a task runs does not mean that its server serves.
func (x Executor) waitReady(ctx context.Context, manager *swarm.Engine, probes []Probe) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, p := range probes {
		g.Go(func() error {
			tick := time.NewTicker(probeEvery)
			defer tick.Stop()
			for {
				err := x.ask(gctx, manager, p)
				if err == nil {
					return nil
				}
				select {
				case <-gctx.Done():
					return fmt.Errorf("%w: %w", context.Cause(gctx), err)
				case <-tick.C:
				}
			}
		})
	}
	return g.Wait()
}

// ask puts the probe to all running tasks at once.
func (x Executor) ask(ctx context.Context, manager *swarm.Engine, p Probe) error {
	tasks, err := manager.Running(ctx, p.Service)
	if err != nil {
		return err
	}
	if len(tasks) == 0 && !p.None {
		return fmt.Errorf("service %s has no running task", p.Service)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		g.Go(func() error { return x.askTask(ctx, t, p) })
	}
	return g.Wait()
}

func (x Executor) askTask(ctx context.Context, t swarm.Task, p Probe) error {
	response, err := x.request(ctx, t, p.Port, http.MethodGet, p.Path, nil)
	if err != nil {
		return fmt.Errorf("%s on %s does not answer: %w", t.Service, t.Node, err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s on %s is not ready: %s", t.Service, t.Node, response.Status)
	}
	return nil
}

// request puts one HTTP request to one task, over SSH to its node. The answer's
// body has to be read within the probe's time.
func (x Executor) request(ctx context.Context, t swarm.Task, port int, method, path string, body io.Reader) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	response, err := x.stream(ctx, t, port, method, path, body)
	if err != nil {
		cancel()
		return nil, err
	}
	response.Body = cancelling{response.Body, cancel}
	return response, nil
}

// cancelling ends a request's context with its body.
type cancelling struct {
	io.ReadCloser
	cancel func()
}

func (c cancelling) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}

// stream is request without a limit of time but that of ctx.
func (x Executor) stream(ctx context.Context, t swarm.Task, port int, method, path string, body io.Reader) (*http.Response, error) {
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return swarm.Dialer{Fleet: x.Env}.DialTask(ctx, t, port)
			},
		},
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+net.JoinHostPort(t.Service, strconv.Itoa(port))+path, body)
	if err != nil {
		return nil, err
	}
	return client.Do(request)
}

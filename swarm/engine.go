// Package swarm is the engine level: what skep asks of Docker engines over
// their API. It forms a swarm of engines, makes networks, creates or updates
// services and waits for them, ships images and reaches tasks.
//
// It depends on package tunnel for the way to an engine and must not know
// where machines come from or which database runs on them.
package swarm

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"skep/tunnel"

	"github.com/docker/docker/client"
)

const dockerSocket = "/var/run/docker.sock"

// Engine is the Docker engine of one node, reached over SSH.
type Engine struct {
	*client.Client
	conn *tunnel.Conn
}

// Open makes the client of the engine at the other end of an SSH connection.
// It asks nothing of it yet; the API version is negotiated with the first call.
func Open(conn *tunnel.Conn) (*Engine, error) {
	docker, err := client.NewClientWithOpts(
		client.WithHost("http://"+conn.Name()),
		// A transport of our own: the client's would go through HTTP_PROXY.
		client.WithHTTPClient(&http.Client{
			CheckRedirect: client.CheckRedirect,
			Transport: &http.Transport{
				MaxIdleConns: 6, IdleConnTimeout: 30 * time.Second,
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return conn.Dial(ctx, "unix", dockerSocket)
				},
			},
		}),
		client.WithAPIVersionNegotiation(),
	)
	if err != nil {
		return nil, fmt.Errorf("docker client for %s: %w", conn.Name(), err)
	}
	return &Engine{Client: docker, conn: conn}, nil
}

// Node is the name of the machine that the engine runs on.
func (e *Engine) Node() string { return e.conn.Name() }

// Conn is the SSH connection that the engine is reached over.
func (e *Engine) Conn() *tunnel.Conn { return e.conn }

// Close ends the client and the SSH connection.
func (e *Engine) Close() error {
	_ = e.Client.Close()
	return e.conn.Close()
}

// brief keeps an engine's error to its first line and takes its prefix off.
func brief(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	line = strings.TrimPrefix(line, "Error response from daemon: ")
	return strings.TrimPrefix(line, "rpc error: code = ")
}

// HasIPVS says whether the node's kernel can balance virtual addresses, loading
// its module where it may.
func (e *Engine) HasIPVS(ctx context.Context) (bool, error) {
	out, err := e.conn.Run(ctx, "{ [ -e /proc/net/ip_vs ] || modprobe ip_vs || sudo -n modprobe ip_vs; } >/dev/null 2>&1 && [ -e /proc/net/ip_vs ] && echo yes || echo no", nil)
	return strings.TrimSpace(out) == "yes", err
}

// IsEmpty says whether a folder of the node has nothing in it.
func (e *Engine) IsEmpty(ctx context.Context, folder string) (bool, error) {
	out, err := e.conn.Run(ctx, "s=; [ \"$(id -u)\" = 0 ] || s='sudo -n'; $s ls -A '"+folder+"' | head -n 1", nil)
	return strings.TrimSpace(out) == "", err
}

package ports

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

// The control protocol: HTTP and JSON over the environment's unix socket.
//
//	GET    /tunnels                  lists; with ?check=1 each service is reached
//	POST   /tunnels {openRequest}    opens
//	DELETE /tunnels?service=S&port=P closes; no service means all, no port any
//
// Each is answered with a reply; an error has a status of 400 or more.

type openRequest struct {
	Service    string `json:"service"`
	RemotePort int    `json:"remote_port"`
	Local      Local  `json:"local"`
}

type reply struct {
	PID     int      `json:"pid"`
	Ending  bool     `json:"ending"` // the process holds no tunnel any more and ends
	Tunnels []Tunnel `json:"tunnels"`
	Error   string   `json:"error,omitempty"`
}

// errAbsent means that no process listens, or that the one that did is ending.
var errAbsent = errors.New("no tunnel process runs")

// A process that lives says what it holds well within it.
const answerTimeout = 3 * time.Second

// maxSocketPath is what every system takes; macOS has the least room, 104
// bytes with the final zero. The system's own error is a bare "invalid argument".
const maxSocketPath = 103

func (p process) checkSocketPath() error {
	if err := checkSocketPath(p.socket()); err != nil {
		return fmt.Errorf("%w\nset XDG_STATE_HOME to a shorter folder", err)
	}
	return nil
}

func checkSocketPath(path string) error {
	if n := len(path); n > maxSocketPath {
		return fmt.Errorf("the path of the tunnel socket %s has %d bytes, and systems allow %d", path, n, maxSocketPath)
	}
	return nil
}

func (p process) list(ctx context.Context) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return p.ask(ctx, http.MethodGet, nil, nil)
}

// check is list with each service reached.
func (p process) check(ctx context.Context) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout+checkTimeout)
	defer cancel()
	return p.ask(ctx, http.MethodGet, url.Values{"check": {"1"}}, nil)
}

func (p process) open(ctx context.Context, o openRequest) (reply, error) {
	return p.ask(ctx, http.MethodPost, nil, o)
}

func (p process) close(ctx context.Context, which selection) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout+2*closeTimeout)
	defer cancel()
	query := url.Values{"service": {which.Service}, "port": {strconv.Itoa(which.Port)}}
	return p.ask(ctx, http.MethodDelete, query, nil)
}

// ask asks the process. The reply counts also when there is an error: closing
// can succeed in part.
func (p process) ask(ctx context.Context, method string, query url.Values, body any) (reply, error) {
	r, err := p.exchange(ctx, method, query, body)
	switch {
	case ctx.Err() != nil && err != nil:
		return r, fmt.Errorf("ask the tunnel process of %s: %w", p.env, context.Cause(ctx))
	case err != nil && absent(err):
		return r, fmt.Errorf("%w for %s: %w", errAbsent, p.env, err)
	case err != nil:
		return r, fmt.Errorf("ask the tunnel process of %s: %w", p.env, err)
	case r.Error != "":
		return r, errors.New(r.Error)
	}
	return r, nil
}

func (p process) exchange(ctx context.Context, method string, query url.Values, body any) (r reply, err error) {
	if _, err := os.Lstat(p.socket()); err != nil {
		return reply{}, err // said in the same way on every system
	}
	var content []byte
	if body != nil {
		if content, err = json.Marshal(body); err != nil {
			return reply{}, err
		}
	}
	address := url.URL{Scheme: "http", Host: "skep", Path: "/tunnels", RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, address.String(), bytes.NewReader(content))
	if err != nil {
		return reply{}, err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", p.socket())
		},
	}}
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		return reply{}, fmt.Errorf("status %s: %w", resp.Status, err)
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		return r, errAbsent
	}
	return r, nil
}

// absent tells errors of a socket that nobody listens on, or that closed on us,
// from those of a process that is there but does not answer.
func absent(err error) bool {
	return errors.Is(err, errAbsent) || errors.Is(err, fs.ErrNotExist) || refused(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

package docker

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/client"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine plays what a real one cannot be brought to do: refuse, lie, and be
// slow. Handlers are named like `POST /containers/create`; a request that none
// is for fails the test.
type engine struct {
	handlers map[string]http.HandlerFunc

	mu    sync.Mutex
	asked []string
}

// startEngine returns a driver that has the engine for its own.
func startEngine(t *testing.T, handlers map[string]http.HandlerFunc) (*Driver, *engine) {
	t.Helper()
	e := &engine{handlers: handlers}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The first element is the API's version.
		_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		call := r.Method + " /" + path
		e.mu.Lock()
		e.asked = append(e.asked, call)
		e.mu.Unlock()
		handle := e.handlers[call]
		if handle == nil && strings.HasSuffix(call, "/disconnect") {
			// Every removal begins with it, and what it answers matters to none.
			handle = accept(http.StatusOK)
		}
		if handle == nil {
			t.Errorf("unexpected %s?%s", call, r.URL.RawQuery)
			handle = refuse(http.StatusNotImplemented, "not played here")
		}
		handle(w, r)
	}))
	docker, err := client.NewClientWithOpts(client.WithHost("tcp://"+server.Listener.Addr().String()), client.WithVersion("1.51"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = docker.Close(); server.Close() })
	d := &Driver{Version: "0.1.0"}
	d.once.Do(func() { d.docker = docker })
	return d, e
}

// count says how often a call was made.
func (e *engine) count(call string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, a := range e.asked {
		if a == call {
			n++
		}
	}
	return n
}

func answer(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
}

func refuse(status int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
	}
}

func accept(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// inTurn answers one call after another; the last answer stays.
func inTurn(handlers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		handle := handlers[min(n, len(handlers)-1)]
		n++
		mu.Unlock()
		handle(w, r)
	}
}

// body decodes what was sent.
func body[T any](t *testing.T, r *http.Request) T {
	t.Helper()
	var v T
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		t.Errorf("%s: %v", r.URL.Path, err)
	}
	return v
}

func mustEngine(t *testing.T, d *Driver) (context.Context, *client.Client) {
	t.Helper()
	docker, err := d.Engine()
	if err != nil {
		t.Fatal(err)
	}
	return t.Context(), docker
}

func oneLine(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than a line: %q", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

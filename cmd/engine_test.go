package cmd

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/rogpeppe/go-internal/testscript"
)

// fakeEngine is a Docker engine that has containers and nothing else, and that
// makes nothing.
type fakeEngine struct {
	host       string // its DOCKER_HOST
	containers []container.Summary
	server     http.Server
	stuck      chan struct{} // where it is set, a listing hangs, and tells so here

	mu    sync.Mutex
	asked []string
}

func (e *fakeEngine) start() error {
	// The path of a unix socket is short.
	dir, err := os.MkdirTemp("", "skep")
	if err != nil {
		return err
	}
	socket := filepath.Join(dir, "docker.sock")
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", socket)
	if err != nil {
		return err
	}
	e.host = "unix://" + socket
	e.server.Handler = http.HandlerFunc(e.serve)
	go func() { _ = e.server.Serve(ln) }() // until stop
	return nil
}

func (e *fakeEngine) stop() {
	_ = e.server.Close()
	_ = os.RemoveAll(filepath.Dir(strings.TrimPrefix(e.host, "unix://")))
}

var versioned = regexp.MustCompile(`^/v1\.[0-9]+`)

func (e *fakeEngine) serve(w http.ResponseWriter, r *http.Request) {
	call := r.Method + " " + versioned.ReplaceAllString(r.URL.Path, "")
	e.mu.Lock()
	e.asked = append(e.asked, call)
	e.mu.Unlock()
	w.Header().Set("Api-Version", "1.51")
	w.Header().Set("Content-Type", "application/json")
	answer := func(status int, v any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	switch {
	case strings.HasSuffix(call, " /_ping"):
	case call == "GET /containers/json":
		if e.stuck != nil {
			select {
			case e.stuck <- struct{}{}:
			case <-r.Context().Done():
			}
			<-r.Context().Done()
			return
		}
		wanted, _ := filters.FromJSON(r.URL.Query().Get("filters"))
		answer(http.StatusOK, slices.DeleteFunc(append([]container.Summary{}, e.containers...), func(c container.Summary) bool {
			return !wanted.MatchKVList("label", c.Labels)
		}))
	case call == "GET /volumes":
		answer(http.StatusOK, map[string]any{"Volumes": []any{}})
	case call == "GET /networks":
		answer(http.StatusOK, []any{})
	case call == "POST /build":
		answer(http.StatusOK, map[string]any{"errorDetail": map[string]string{"message": "no route to the registry"}})
	default:
		answer(http.StatusNotFound, map[string]string{"message": "not here: " + call})
	}
}

type engineKey struct{}

func engineCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: engine [FILE]")
	}
	e := &fakeEngine{}
	if len(args) > 0 {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &e.containers))
	}
	ts.Check(e.start())
	ts.Defer(e.stop)
	ts.Setenv("DOCKER_HOST", e.host)
	engines, _ := ts.Value(engineKey{}).(*[]*fakeEngine)
	*engines = append(*engines, e)
}

func askedCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] asked PATTERN")
	}
	engines, _ := ts.Value(engineKey{}).(*[]*fakeEngine)
	if len(*engines) == 0 {
		ts.Fatalf("there is no engine")
	}
	e := (*engines)[len(*engines)-1]
	e.mu.Lock()
	defer e.mu.Unlock()
	pattern := regexp.MustCompile(args[0])
	if found := slices.ContainsFunc(e.asked, pattern.MatchString); found == neg {
		ts.Fatalf("the engine was asked:\n%s", strings.Join(e.asked, "\n"))
	}
}

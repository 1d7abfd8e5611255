package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rqlite asks the cluster through the HTTP API at a base address.
type rqlite struct {
	t    *testing.T
	base string
}

var client = &http.Client{Timeout: 5 * time.Second}

func (r rqlite) post(path string, statements ...string) (string, error) {
	body, err := json.Marshal(statements)
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.base+path, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || strings.Contains(string(text), `"error"`)) {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return string(text), err
}

func (r rqlite) execute(statement string) {
	r.t.Helper()
	if _, err := r.post("/db/execute", statement); err != nil {
		r.t.Fatalf("rqlite: %s: %v", statement, err)
	}
}

// value reads a single value as JSON text. Strong reads see every
// acknowledged write.
func (r rqlite) value(query string) (string, error) {
	text, err := r.post("/db/query?level=strong", query)
	if err != nil {
		return "", err
	}
	var answer struct {
		Results []struct{ Values [][]json.RawMessage }
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return "", err
	}
	if len(answer.Results) != 1 || len(answer.Results[0].Values) != 1 {
		return "", fmt.Errorf("no value: %s", text)
	}
	return string(answer.Results[0].Values[0][0]), nil
}

func (r rqlite) wantValue(query, want string) {
	r.t.Helper()
	eventually(r.t, time.Minute, query, func() error {
		got, err := r.value(query)
		if err == nil && got != want {
			err = fmt.Errorf("got %s, want %s", got, want)
		}
		return err
	})
}

// status is what `… status --json` prints.
type status struct {
	Env, Stack string
	Servers    []server
	Ready      bool
}

type server struct {
	Name, Node, Address, Role string
	Ready                     bool
}

func (u *user) status(stack, env string) (status, int) {
	u.t.Helper()
	r := u.run(stack, "status", env, "--json")
	var s status
	if err := json.Unmarshal([]byte(r.out), &s); err != nil {
		u.t.Fatalf("%s status --json: %v: %s%s", stack, err, r.out, r.errs)
	}
	return s, r.code
}

// whole waits until a stack is ready with so many servers.
func (u *user) whole(stack, env string, servers int) time.Duration {
	u.t.Helper()
	return eventually(u.t, 90*time.Second, stack+" whole", func() error {
		s, code := u.status(stack, env)
		if code != 0 || !s.Ready || len(s.Servers) != servers {
			return fmt.Errorf("exit %d, %+v", code, s)
		}
		return nil
	})
}

// page reads a page through a tunnel.
func page(address string) (string, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// joined waits until the stand-in's page lists so many connected servers.
func joined(t *testing.T, address string, servers int) {
	t.Helper()
	took := eventually(t, 90*time.Second, "servers joined", func() error {
		text, err := page(address)
		if n := strings.Count(text, `<li class="server">`); err == nil && n != servers {
			err = fmt.Errorf("%d servers: %s", n, text)
		}
		return err
	})
	t.Logf("%d servers joined after %s", servers, took)
}

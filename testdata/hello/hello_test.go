package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// standIn builds the stand-in for RethinkDB and returns what starts it and waits until it lets us in.
func standIn(t *testing.T) (port int, start func() (kill func())) {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "rethinkdb")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, "../rethinkdb")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var ports []string
	for range 2 {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port = l.Addr().(*net.TCPAddr).Port
		ports = append(ports, strconv.Itoa(port))
	}
	return port, func() func() {
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		server := exec.CommandContext(ctx, binary, "--no-http-admin", "--directory", filepath.Join(dir, "data"),
			"--cluster-port", ports[0], "--driver-port", ports[1], "--initial-password", "secret")
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		return func() {
			cancel()
			_ = server.Wait() // it was killed
		}
	}
}

func ask(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	for giveUp := time.Now().Add(time.Minute); time.Now().Before(giveUp); time.Sleep(20 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func TestWithRethinkDB(t *testing.T) {
	// The driver leaves one behind for each session that does not come about.
	drivers := goleak.IgnoreTopFunction("github.com/hailocab/go-hostpool.(*epsilonGreedyHostPool).epsilonGreedyDecay")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), drivers)
	port, start := standIn(t)
	kill := start()
	defer func() { kill() }()

	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := newRethink(func(name string) string {
		return map[string]string{
			"RETHINKDB_ADDRESSES": fmt.Sprintf("nowhere.invalid,localhost:%d", port), "RETHINKDB_PASSWORD_FILE": secret,
		}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	var session *r.Session
	eventually(t, "the database is up", func() error {
		session, err = db.connected(t.Context())
		return err
	})
	for _, table := range []string{"hello", "docs"} {
		if err := r.TableCreate(table).Exec(session); err != nil {
			t.Fatal(err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/", newHandler("Hello", db))
	addDocs(mux, db)
	web := httptest.NewServer(mux)
	defer web.Close()

	if code, text := ask(t, "GET", web.URL+"/readyz", ""); code != 503 || !strings.Contains(text, "empty") {
		t.Errorf("%d %s", code, text)
	}
	if err := r.Table("hello").Insert(map[string]any{"text": "from the database"}).Exec(session); err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		method, path, body string
		code               int
		says               string
	}{
		{"GET", "/bar", "", 200, "Hello, \"/bar\"\nfrom the database\n"},
		{"GET", "/readyz", "", 200, "ok\n"},
		{"GET", "/docs/a", "", 404, "404 page not found\n"},
		{"PUT", "/docs/a", "first", 200, "kept\n"},
		{"PUT", "/docs/a", "first", 200, "kept\n"},
		{"PUT", "/docs/b", "second", 200, "kept\n"},
		{"GET", "/docs/a", "", 200, "first"},
		{"GET", "/docs", "", 200, "a\nb\n"},
	} {
		if code, text := ask(t, one.method, web.URL+one.path, one.body); code != one.code || text != one.says {
			t.Errorf("%s %s: %d %q", one.method, one.path, code, text)
		}
	}

	kill()
	if code, _ := ask(t, "PUT", web.URL+"/docs/c", "x"); code != 503 {
		t.Errorf("without a database a write gives %d", code)
	}
	if code, _ := ask(t, "GET", web.URL+"/healthz", ""); code != 200 {
		t.Errorf("without a database it is not healthy: %d", code)
	}
	kill = start()
	eventually(t, "it reconnects by itself", func() error {
		if code, text := ask(t, "PUT", web.URL+"/docs/c", "third"); code != 200 {
			return fmt.Errorf("%d %s", code, text)
		}
		return nil
	})
	if _, text := ask(t, "GET", web.URL+"/docs", ""); text != "a\nb\nc\n" {
		t.Errorf("%q", text)
	}
}

// A request that is under way when the app is told to stop is answered, and so
// is one that comes right after, from who does not know it yet.
func TestStopsWhenAllIsAnswered(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var first sync.Once
	begun, stopped := make(chan struct{}), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		stopped <- serve(ctx, addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			first.Do(func() { close(begun) })
			<-ctx.Done()
			fmt.Fprint(w, "done")
		}))
	}()
	eventually(t, "it listens", func() error {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	go func() {
		<-begun
		stop()
	}()
	if code, text := ask(t, "GET", "http://"+addr, ""); code != 200 || text != "done" {
		t.Errorf("%d %q", code, text)
	}
	if code, text := ask(t, "GET", "http://"+addr, ""); code != 200 || text != "done" {
		t.Errorf("a connection after SIGTERM: %d %q", code, text)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

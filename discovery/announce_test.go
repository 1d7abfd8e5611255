//go:build unix

package discovery

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skep/usage"
)

// cluster is an id on a server, and what announces there.
type cluster struct {
	t *testing.T
	Client
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	base, _, _ := start(t, Server{File: filepath.Join(t.TempDir(), "db")})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	_, made := post(t, client, "http://"+base, "")
	return &cluster{t, Client{URL: "http://" + base, ID: made.DiscoID, HTTP: client}}
}

// announcement runs a shell script that finds its arguments in "$@".
func (c *cluster) announcement(addr, script string, out *log) Announcement {
	return Announcement{
		Client: c.Client, Addr: addr, TTL: minTTL, Join: "--join {{.Host}}:29015", Log: slog.New(slog.DiscardHandler),
		Command: []string{"sh", "-c", script, "sh"},
		Start: func(args, env []string) *exec.Cmd {
			child := exec.Command(args[0], args[1:]...) //nolint:noctx // it ends by a signal
			child.Env, child.Stdout, child.Stderr = env, out, out
			return child
		},
	}
}

func (c *cluster) nodes() []string {
	c.t.Helper()
	answer, err := c.List(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return answer.Nodes
}

// listen takes connections, as a peer does.
func listen(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestTheFirstWaitsForNobodyAndWithdraws(t *testing.T) {
	c := newCluster(t)
	var out log
	err := c.announcement("127.0.0.1:1", `echo "[$*] [$SKEP_PEERS]"; exit 7`, &out).Run(t.Context())
	var exit ExitError
	if !errors.As(err, &exit) || exit.Code != 7 || out.String() != "[] []\n" {
		t.Errorf("%v, %q", err, out.String())
	}
	if nodes := c.nodes(); len(nodes) > 0 {
		t.Errorf("left: %v", nodes)
	}
}

func TestPeersThatAnswerAreJoined(t *testing.T) {
	c := newCluster(t)
	peer, other := listen(t), "http://"+listen(t)
	for _, a := range []string{"127.0.0.1:1", peer, "127.0.0.1:2", other} {
		if _, err := c.Register(t.Context(), a, 0); err != nil {
			t.Fatal(err)
		}
	}
	var out log
	a := c.announcement("127.0.0.1:3", `echo "$* | $SKEP_PEERS"`, &out)
	a.Command = append(a.Command, "before", "{}", "after")
	a.Join = "--join {{.Host}}:{{.Port}}"
	if err := a.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "before --join " + peer + " --join " + strings.TrimPrefix(other, "http://") + " after | " + peer + " " + other + "\n"
	if out.String() != want {
		t.Errorf("ran %q, not %q", out.String(), want)
	}
}

// One that died without a word is first until its time is over.
func TestADeadFirstIsWaitedForUntilItExpires(t *testing.T) {
	c := newCluster(t)
	if _, err := c.Register(t.Context(), "127.0.0.1:1", 2*time.Second); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	var out log
	if err := c.announcement("127.0.0.1:2", `echo "[$*]"`, &out).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < time.Second || out.String() != "[]\n" {
		t.Errorf("%q after %s", out.String(), took)
	}
}

func TestItIsRenewedWhileTheCommandLivesAndTheSignalGoesOn(t *testing.T) {
	c := newCluster(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out log
	a := c.announcement("127.0.0.1:1", `trap 'echo told; exit 3' TERM; echo up; while :; do sleep 0.05; done`, &out)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	waitFor(t, func() bool { return out.String() == "up\n" })
	// Longer than the TTL it stays registered.
	for end := time.Now().Add(minTTL + time.Second); time.Now().Before(end); {
		if nodes := c.nodes(); !slices.Equal(nodes, []string{"127.0.0.1:1"}) {
			t.Fatalf("nodes %v", nodes)
		}
	}
	cancel()
	var exit ExitError
	if err := <-ended; !errors.As(err, &exit) || exit.Code != 3 || out.String() != "up\ntold\n" {
		t.Errorf("%v, %q", err, out.String())
	}
	if nodes := c.nodes(); len(nodes) > 0 {
		t.Errorf("left: %v", nodes)
	}
}

func TestAnnounceRefuses(t *testing.T) {
	c := newCluster(t)
	var out log
	for name, spoil := range map[string]func(*Announcement){
		"no command":           func(a *Announcement) { a.Command = nil },
		"no address":           func(a *Announcement) { a.Addr = "nonsense" },
		"no port":              func(a *Announcement) { a.Addr = "http://host" },
		"too short a time":     func(a *Announcement) { a.TTL = time.Second },
		"a template with gaps": func(a *Announcement) { a.Join = "{{.Nothing}}" },
		"no template":          func(a *Announcement) { a.Join = "{{" },
	} {
		a := c.announcement("127.0.0.1:1", "true", &out)
		spoil(&a)
		var wrong usage.Error
		if err := a.Run(t.Context()); !errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, spoil := range map[string]func(*Announcement){
		"an id that is not there":     func(a *Announcement) { a.Client.ID = "x" },
		"a command that is not there": func(a *Announcement) { a.Command = []string{"/nowhere/at/all"} },
		"a service that is none":      func(a *Announcement) { a.Client.URL += "/healthz?" },
	} {
		a := c.announcement("127.0.0.1:1", "true", &out)
		spoil(&a)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if err := a.Run(ctx); err == nil {
			t.Errorf("%s is taken", name)
		}
		cancel()
	}
	if nodes := c.nodes(); len(nodes) > 0 || out.String() != "" {
		t.Errorf("left: %v, %q", nodes, out.String())
	}
}

func TestExitCodesAreAsAShellTellsThem(t *testing.T) {
	c := newCluster(t)
	var out log
	err := c.announcement("127.0.0.1:1", "kill -9 $$", &out).Run(t.Context())
	var exit ExitError
	if !errors.As(err, &exit) || exit.Code != 128+9 {
		t.Error(err)
	}
	if os.Getenv(PeersVariable) != "" {
		t.Error("the variable leaks")
	}
}

func TestAnIdThatGoesIsNotWaitedFor(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(`{"disco_id":"x","nodes":[]}`))
	}))
	defer server.Close()
	c := &cluster{t, Client{URL: server.URL, ID: "x", HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}}
	var out log
	if err := c.announcement("127.0.0.1:1", "echo run", &out).Run(t.Context()); err == nil || out.String() != "" {
		t.Errorf("%v, %q", err, out.String())
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// Servers are processes, so that they can be killed: the test binary itself, told to be one.
const beServer = "SKEP_TEST_BE_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(beServer) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// server is one process at a time on one data directory and fixed ports.
type server struct {
	t                     *testing.T
	name, dir             string
	cluster, driver, http int
	args                  []string
	process               *exec.Cmd
	exited                chan struct{}
	log                   *lockedBuffer
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func newServer(t *testing.T, name string, args ...string) *server {
	t.Helper()
	ports := freePorts(t, 3)
	s := &server{
		t: t, name: name, dir: filepath.Join(t.TempDir(), name), args: args,
		cluster: ports[0], driver: ports[1], http: ports[2], log: &lockedBuffer{},
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", s.name, s.log)
		}
	})
	return s
}

func (s *server) start(peers ...*server) {
	s.t.Helper()
	args := []string{
		"--bind", "127.0.0.1", "--no-default-bind", "--directory", s.dir, "--server-name", s.name, "--no-update-check",
		"--cluster-port", strconv.Itoa(s.cluster), "--driver-port", strconv.Itoa(s.driver), "--http-port", strconv.Itoa(s.http),
		"--canonical-address", fmt.Sprintf("127.0.0.1:%d", s.cluster),
	}
	for _, peer := range peers {
		args = append(args, "--join", fmt.Sprintf("127.0.0.1:%d", peer.cluster))
	}
	// Not under the test's context: it ends before the clean-up that kills and waits.
	s.process = exec.CommandContext(context.WithoutCancel(s.t.Context()), os.Args[0], append(args, s.args...)...)
	s.process.Env = append(os.Environ(), beServer+"=yes")
	s.process.Stdout, s.process.Stderr = s.log, s.log
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	process, exited := s.process, make(chan struct{})
	s.exited = exited
	go func() {
		_ = process.Wait() // it was killed
		close(exited)
	}()
}

func (s *server) kill() {
	if s.process != nil {
		_ = s.process.Process.Kill() // it may be gone
		<-s.exited
		s.process = nil
	}
}

func (s *server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.driver) }

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

// session connects to one server, when that is ready.
func (s *server) session(opts ...func(*r.ConnectOpts)) *r.Session {
	s.t.Helper()
	options := r.ConnectOpts{Address: s.address(), Timeout: 5 * time.Second}
	for _, set := range opts {
		set(&options)
	}
	var session *r.Session
	eventually(s.t, "connect to "+s.name, func() (err error) {
		session, err = r.Connect(options)
		return err
	})
	s.t.Cleanup(func() { _ = session.Close() })
	return session
}

func cluster(t *testing.T, n int) []*server {
	t.Helper()
	var all []*server
	for i := range n {
		all = append(all, newServer(t, fmt.Sprintf("db%d", i)))
	}
	all[0].start()
	all[0].session()
	for _, s := range all[1:] {
		s.start(all[0])
		s.session() // starts at the same moment can miss each other, like those of the real server
	}
	whole(t, all)
	return all
}

// whole waits until every server sees every other, asked of each.
func whole(t *testing.T, all []*server) {
	t.Helper()
	for _, s := range all {
		session := s.session()
		eventually(t, s.name+" sees all", func() error {
			var rows []struct {
				Name    string
				Network struct {
					ConnectedTo map[string]bool `rethinkdb:"connected_to"`
				}
			}
			if err := query(session, r.DB("rethinkdb").Table("server_status"), &rows); err != nil {
				return err
			}
			sees := 0
			for _, row := range rows {
				for _, connected := range row.Network.ConnectedTo {
					if connected {
						sees++
					}
				}
			}
			if len(rows) != len(all) || sees != len(all)*(len(all)-1) {
				return fmt.Errorf("%+v", rows)
			}
			return nil
		})
	}
}

func query(session *r.Session, q r.Term, to any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cursor, err := q.Run(session, r.RunOpts{Context: ctx})
	if err != nil {
		return err
	}
	if to == nil {
		return cursor.Close()
	}
	return cursor.All(to)
}

func must(t *testing.T, session *r.Session, q r.Term, to any) {
	t.Helper()
	if err := query(session, q, to); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
}

// value runs a query with a single result.
func value(t *testing.T, session *r.Session, q r.Term) any {
	t.Helper()
	cursor, err := q.Run(session)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	var got any
	if err := cursor.One(&got); err != nil && !errors.Is(err, r.ErrEmptyResult) {
		t.Fatalf("%s: %v", q, err)
	}
	return got
}

func ready(t *testing.T, session *r.Session, table r.Term) {
	t.Helper()
	eventually(t, "all replicas ready", func() error {
		var status struct{ Status map[string]bool }
		cursor, err := table.Status().Run(session)
		if err != nil {
			return err
		}
		if err := cursor.One(&status); err != nil {
			return err
		}
		if !status.Status["all_replicas_ready"] {
			return fmt.Errorf("%v", status)
		}
		return nil
	})
}

func contains(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%v does not say %q", err, text)
	}
}

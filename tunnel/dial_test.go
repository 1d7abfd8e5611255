package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestDialReachesWhatTheMachineReaches(t *testing.T) {
	socket := filepath.Join(shortDir(t), "echo.sock")
	for network, addr := range map[string]string{"tcp": echoing(t, "tcp", "127.0.0.1:0"), "unix": echoing(t, "unix", socket)} {
		t.Run(network, func(t *testing.T) {
			c := startServer(t).connected(t)
			var dialling sync.WaitGroup
			for range 4 { // all over the one connection
				dialling.Go(func() { checkEcho(t, c, network, addr) })
			}
			dialling.Wait()
		})
	}
}

func TestDialSaysWhatWasDialled(t *testing.T) {
	c := startServer(t).connected(t)
	missing := filepath.Join(t.TempDir(), "docker.sock")
	_, err := c.Dial(t.Context(), "unix", missing)
	if err == nil || !strings.Contains(err.Error(), "dial "+missing+" on dev-manager-1") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Dial(ctx, "tcp", "127.0.0.1:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v after the end of the context", err)
	}
}

// dialStdioPrograms play `docker system dial-stdio` as an echo, and sudo; both
// write down how they were called.
func dialStdioPrograms(t *testing.T) (called func() string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "calls")
	programs(t, map[string]string{
		"docker": "echo docker \"$@\" >>" + log + "\nexec cat\n",
		"sudo":   "echo sudo \"$@\" >>" + log + "\nshift\nexec \"$@\"\n",
	})
	return func() string {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
}

func TestDialGoesThroughDockerWhereSocketsAreNotForwarded(t *testing.T) {
	called := dialStdioPrograms(t)
	socket := filepath.Join(t.TempDir(), "docker.sock")
	writeText(t, socket, "") // may be written by this user
	s := startServer(t, func(s *sshd) { s.sockets = ssh.Prohibited })
	checkEcho(t, s.connected(t), "unix", socket)
	if got, want := called(), "docker -H unix://"+socket+" system dial-stdio"; got != want {
		t.Errorf("ran %q, not %q", got, want)
	}
}

// sshd opens the socket as the user who logged in and tells that it could not
// by ConnectionFailed alone.
func TestDialUsesSudoWhereTheUserMayNotOpenTheSocket(t *testing.T) {
	called := dialStdioPrograms(t)
	socket := filepath.Join(t.TempDir(), "docker.sock") // not there, so not to be written either
	s := startServer(t, func(s *sshd) { s.sockets = ssh.ConnectionFailed })
	e := s.endpoint(t)
	e.User = "ubuntu"
	checkEcho(t, connectWith(t, e), "unix", socket)
	if got, want := called(), "sudo -n docker -H unix://"+socket+" system dial-stdio\ndocker -H unix://"+socket+" system dial-stdio"; got != want {
		t.Errorf("ran %q, not %q", got, want)
	}
}

func TestDialThroughDockerEndsWithClose(t *testing.T) {
	dialStdioPrograms(t)
	s := startServer(t, func(s *sshd) { s.sockets = ssh.Prohibited })
	c := s.connected(t)
	conn, err := c.Dial(t.Context(), "unix", filepath.Join(t.TempDir(), "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := io.ReadAll(conn)
		read <- err
	}()
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	_ = within(t, "the end of a read after Close", read)
	if conn.LocalAddr() == nil || conn.RemoteAddr() == nil {
		t.Error("net/http asks for addresses")
	}
	for _, err := range []error{conn.SetDeadline(time.Now()), conn.SetReadDeadline(time.Now()), conn.SetWriteDeadline(time.Now())} {
		if err != nil {
			t.Errorf("a deadline: %v", err)
		}
	}
}

// sshd has room for ten sessions: one that came to nothing must not keep its place.
func TestASessionThatIsRefusedIsClosed(t *testing.T) {
	s := startServer(t, func(s *sshd) {
		s.sockets, s.refuses, s.refused = ssh.Prohibited, true, make(chan struct{}, 2)
	})
	c := s.connected(t)
	_ = within(t, "the end of the first session", s.refused)
	if _, err := c.Dial(t.Context(), "unix", "/var/run/docker.sock"); err == nil || !strings.Contains(err.Error(), "dial /var/run/docker.sock on dev-manager-1") {
		t.Errorf("error %v", err)
	}
	_ = within(t, "the end of the session that was to dial", s.refused)
}

// Root may open any socket: one that cannot be opened is not there.
func TestDialDoesNotTryAgainInVain(t *testing.T) {
	s := startServer(t, func(s *sshd) {
		s.sockets = ssh.ConnectionFailed
		s.run = func(c session) int {
			t.Errorf("ran %q", c.command)
			return 1
		}
	})
	_, err := s.connected(t).Dial(t.Context(), "unix", "/var/run/docker.sock")
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) {
		t.Errorf("error %v", err)
	}
}

// echoing answers with what it got, once all of it is there, so that the end
// of what is sent has to travel, too.
func echoing(t *testing.T, network, addr string) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				all, _ := io.ReadAll(conn)
				_, _ = conn.Write(all)
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); running.Wait() })
	return ln.Addr().String()
}

// checkEcho sends more than a channel's window both ways.
func checkEcho(t *testing.T, c *Conn, network, addr string) {
	t.Helper()
	conn, err := c.Dial(t.Context(), network, addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	sent := make([]byte, 2<<20+7)
	_, _ = rand.Read(sent)
	var sending sync.WaitGroup
	sending.Go(func() {
		if _, err := conn.Write(sent); err != nil {
			t.Errorf("write: %v", err)
		}
		closeWrite(conn)
	})
	got, err := io.ReadAll(conn)
	sending.Wait()
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(sent), err)
	}
}

// shortDir is a temporary folder whose path a unix socket has room for.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "skep")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

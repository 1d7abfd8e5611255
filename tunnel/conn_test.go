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

// stuck is how long a test waits for what is to happen at once: longer means
// that it never will.
const stuck = time.Minute

func TestConnectToThePinnedMachine(t *testing.T) {
	s := startServer(t)
	c := s.connected(t)
	if c.Name() != "dev-manager-1" {
		t.Errorf("it calls itself %q", c.Name())
	}
	if out, err := c.Run(t.Context(), "echo here", nil); out != "here\n" || err != nil {
		t.Errorf("a command printed %q, %v", out, err)
	}
}

func TestConnectRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, e *Endpoint)
		want  error
	}{
		"a machine without a pinned key": {func(t *testing.T, e *Endpoint) {
			if err := Unpin(e.KnownHosts, e.Name); err != nil {
				t.Fatal(err)
			}
		}, ErrNotPinned},
		"a machine where nothing was pinned yet": {func(t *testing.T, e *Endpoint) {
			if err := os.Remove(e.KnownHosts); err != nil {
				t.Fatal(err)
			}
		}, ErrNotPinned},
		"the key of another machine": {func(_ *testing.T, e *Endpoint) {
			e.Name = "dev-worker-1"
		}, ErrNotPinned},
		"a key that is not the pinned one": {func(t *testing.T, e *Endpoint) {
			if err := Pin(e.KnownHosts, map[string]ssh.PublicKey{e.Name: newSigner(t).PublicKey()}); err != nil {
				t.Fatal(err)
			}
		}, ErrOtherKey},
		"a login": {func(t *testing.T, e *Endpoint) {
			e.KeyFile = filepath.Join(t.TempDir(), "id_ed25519")
			if _, err := EnsureKey(e.KeyFile); err != nil {
				t.Fatal(err)
			}
		}, ErrDenied},
		"to go on without a private key": {func(t *testing.T, e *Endpoint) {
			if err := os.Remove(e.KeyFile); err != nil {
				t.Fatal(err)
			}
		}, os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			e := startServer(t).endpoint(t)
			test.spoil(t, &e)
			c, err := Connect(t.Context(), e)
			if err == nil {
				_ = c.Close()
			}
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, not %v", err, test.want)
			}
			for _, word := range []string{e.Name, "root@" + e.Address} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %s", err, word)
				}
			}
		})
	}
}

func TestConnectRefusesFilesThatCannotBeRead(t *testing.T) {
	for name, file := range map[string]func(e Endpoint) string{
		"private key": func(e Endpoint) string { return e.KeyFile },
		"host keys":   func(e Endpoint) string { return e.KnownHosts },
	} {
		e := startServer(t).endpoint(t)
		writeText(t, file(e), "dev-manager-1 neither the one nor the other\n")
		c, err := Connect(t.Context(), e)
		if err == nil {
			_ = c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), name) || errors.Is(err, ErrNotPinned) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestConnectWhereNothingListens(t *testing.T) {
	s := startServer(t)
	e := s.endpoint(t)
	ln := listen(t)
	e.Address = ln.Addr().String()
	_ = ln.Close()
	c, err := Connect(t.Context(), e)
	if err == nil {
		_ = c.Close()
		t.Fatal("connected to nobody")
	}
	if !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), e.Name) {
		t.Errorf("error %v", err)
	}
}

// The socket accepts and nothing answers: only the context ends that.
func TestConnectToASilentServerEndsWithItsContext(t *testing.T) {
	greeted := make(chan struct{})
	addr := service(t, func(conn *net.TCPConn) {
		_, _ = conn.Read(make([]byte, 1)) // of the client's version
		close(greeted)
		_, _ = io.Copy(io.Discard, conn) // until the client hangs up
	})
	e := startServer(t).endpoint(t)
	e.Address = addr
	why := errors.New("the user pressed Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error)
	go func() {
		_, err := Connect(ctx, e)
		failed <- err
	}()
	<-greeted
	cancel(why)
	if err := within(t, "the end of the handshake", failed); !errors.Is(err, why) {
		t.Errorf("error %v does not say why", err)
	}
}

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

func TestRunPassesStdinAndReturnsStdout(t *testing.T) {
	c := startServer(t).connected(t)
	sent := strings.Repeat("a secret, and never an argument\n", 10_000)
	out, err := c.Run(t.Context(), "cat; echo aside >&2", strings.NewReader(sent))
	if err != nil || out != sent {
		t.Errorf("returned %d bytes of %d, %v", len(out), len(sent), err)
	}
	if out, err := c.Run(t.Context(), "cat", nil); err != nil || out != "" {
		t.Errorf("without stdin it returned %q, %v", out, err)
	}
}

func TestRunOfAFailingCommandCarriesItsWords(t *testing.T) {
	c := startServer(t).connected(t)
	out, err := c.Run(t.Context(), "echo so far; echo no such swarm >&2; exit 3", nil)
	var failed *CommandError
	var exit *ssh.ExitError
	if !errors.As(err, &failed) || !errors.As(err, &exit) {
		t.Fatalf("error %v", err)
	}
	if out != "so far\n" || failed.Words != "no such swarm" || failed.Node != "dev-manager-1" || exit.ExitStatus() != 3 {
		t.Errorf("%q, %+v", out, failed)
	}
	if text := err.Error(); !strings.HasPrefix(text, "on dev-manager-1: ") || !strings.HasSuffix(text, ": no such swarm") {
		t.Errorf("it reads %q", text)
	}
	if _, err = c.Run(t.Context(), "exit 4", nil); err == nil || strings.HasSuffix(err.Error(), ": ") {
		t.Errorf("of a silent one it reads %v", err)
	}
}

// startEndless is a server whose commands run until the client closes the
// session; it tells when the first has begun.
func startEndless(t *testing.T) (*sshd, <-chan struct{}) {
	t.Helper()
	started := make(chan struct{})
	return startServer(t, func(s *sshd) {
		s.run = func(c session) int {
			close(started)
			<-c.ctx.Done()
			return 0
		}
	}), started
}

func TestRunEndsWithItsContext(t *testing.T) {
	s, started := startEndless(t)
	why := errors.New("long enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error)
	c := s.connected(t)
	go func() {
		_, err := c.Run(ctx, "sleep 1000", nil)
		ended <- err
	}()
	<-started
	cancel(why)
	if err := within(t, "the end of a command", ended); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}

func TestDoneIsClosedWhenTheServerGoes(t *testing.T) {
	s := startServer(t)
	c := s.connected(t)
	select {
	case <-c.Done():
		t.Fatal("done before anything happened")
	default:
	}
	s.drop()
	within(t, "Done", c.Done())
	for what, err := range map[string]error{
		"Dial": second(c.Dial(t.Context(), "tcp", s.addr)),
		"Run":  second(c.Run(t.Context(), "true", nil)),
	} {
		if err == nil || !strings.Contains(err.Error(), "dev-manager-1") {
			t.Errorf("%s on a dead connection: %v", what, err)
		}
	}
	if err := c.Close(); err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("Close: %v", err)
	}
}

func TestCloseEndsWhatRunsOverIt(t *testing.T) {
	s, started := startEndless(t)
	c := s.connected(t)
	ran := make(chan error)
	go func() {
		_, err := c.Run(context.WithoutCancel(t.Context()), "sleep 1000", nil)
		ran <- err
	}()
	<-started
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := within(t, "the end of a command", ran); err == nil {
		t.Error("a command that was cut off succeeded")
	}
	if err := c.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
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

func within[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(stuck):
		t.Fatal("waited in vain for " + what)
		panic("unreachable")
	}
}

func second[T any](_ T, err error) error { return err }

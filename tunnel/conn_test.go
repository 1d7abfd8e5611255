package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
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

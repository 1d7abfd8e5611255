package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// forwarding runs a Forward to dial and returns its address. The test fails if
// the Forward fails or leaves a goroutine.
func forwarding(t *testing.T, log *slog.Logger, dial func(context.Context) (net.Conn, error)) string {
	t.Helper()
	ln := listen(t)
	startForward(t, ln, log, dial)
	return ln.Addr().String()
}

func startForward(t *testing.T, ln net.Listener, log *slog.Logger, dial func(context.Context) (net.Conn, error)) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- forwardWith(dial, log).Forward(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Forward: %v", err)
		}
		goleak.VerifyNone(t, before)
	})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// service runs serve for each connection to the address it returns.
func service(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	ln := listen(t)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); running.Wait() })
	return ln.Addr().String()
}

func dialer(addr string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
}

func connectTo(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := dialer(addr)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// The service answers only after it has seen the end of the request, so this
// hangs unless the half-close travels one way while the other stays open.
func TestForwardPassesHalfCloseOn(t *testing.T) {
	addr := service(t, func(c *net.TCPConn) {
		all, err := io.ReadAll(c)
		if err == nil {
			_, _ = c.Write(all)
		}
	})
	local := forwarding(t, discard(), dialer(addr))

	sent := make([]byte, 3<<20+7)
	_, _ = rand.Read(sent)
	var clients sync.WaitGroup
	for range 8 {
		conn := connectTo(t, local)
		clients.Go(func() {
			if _, err := conn.Write(sent); err != nil {
				t.Errorf("write: %v", err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Errorf("close write: %v", err)
			}
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("got %d bytes back of %d: %v", len(got), len(sent), err)
			}
		})
	}
	clients.Wait()
}

// The other direction: the service ends first and still reads.
func TestForwardPassesTheServicesHalfCloseOn(t *testing.T) {
	heard := make(chan string, 1)
	addr := service(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "banner")
		_ = c.CloseWrite()
		all, _ := io.ReadAll(c)
		heard <- string(all)
	})
	conn := connectTo(t, forwarding(t, discard(), dialer(addr)))
	if got, err := io.ReadAll(conn); err != nil || string(got) != "banner" {
		t.Fatalf("read %q: %v", got, err)
	}
	if _, err := io.WriteString(conn, "bye"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if got := <-heard; got != "bye" {
		t.Errorf("the service heard %q", got)
	}
}

// wholeConn is a connection without halves.
type wholeConn struct{ net.Conn }

func TestForwardClosesWhatHasNoHalves(t *testing.T) {
	ended := make(chan struct{})
	addr := service(t, func(c *net.TCPConn) {
		_, _ = io.Copy(io.Discard, c)
		close(ended)
	})
	conn := connectTo(t, forwarding(t, discard(), func(ctx context.Context) (net.Conn, error) {
		remote, err := dialer(addr)(ctx)
		return wholeConn{remote}, err
	}))
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-ended
	if got, err := io.ReadAll(conn); err != nil || len(got) != 0 {
		t.Errorf("read %q: %v", got, err)
	}
}

// A service that refuses an upload in the middle: its answer must get through
// to a client that is still sending, and the client must be let go after it.
func TestForwardDeliversAnEarlyAnswer(t *testing.T) {
	local := forwarding(t, discard(), func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		return &refusing{Conn: near, refused: make(chan struct{}), answer: strings.NewReader("too large")}, far.Close()
	})
	conn := connectTo(t, local)
	if _, err := conn.Write(make([]byte, 1<<10)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("too large"))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "too large" {
		t.Fatalf("read %q: %v", answer, err)
	}
	for {
		if _, err := conn.Write(make([]byte, 1<<20)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the client was not let go")
		} else if err != nil {
			return
		}
	}
}

// refusing takes no bytes, and answers once it was offered some.
type refusing struct {
	net.Conn
	once    sync.Once
	refused chan struct{}
	answer  io.Reader
}

func (r *refusing) CloseWrite() error { return nil }
func (r *refusing) Write([]byte) (int, error) {
	r.once.Do(func() { close(r.refused) })
	return 0, syscall.EPIPE
}
func (r *refusing) Read(p []byte) (int, error) { <-r.refused; return r.answer.Read(p) }

func TestForwardDropsTheConnectionWhenTheDialFails(t *testing.T) {
	var lines lockedBuffer
	log := slog.New(slog.NewTextHandler(&lines, nil))
	conn := connectTo(t, forwarding(t, log, func(context.Context) (net.Conn, error) {
		return nil, errors.New("no task runs")
	}))
	if got, err := io.ReadAll(conn); err != nil || len(got) != 0 {
		t.Errorf("read %q: %v", got, err)
	}
	if got := lines.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "no task runs") {
		t.Errorf("logged %q, want one line with the reason", got)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Connections whose remote takes nothing, and dials under way, end with ctx.
func TestForwardEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	far, held := make(chan net.Conn, 1), make(chan struct{}, 1)
	first := true
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var mu sync.Mutex
	dial := func(ctx context.Context) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if first {
			first = false
			a, b := net.Pipe()
			far <- b
			return a, nil
		}
		held <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	go func() { done <- forwardWith(dial, discard()).Forward(ctx, ln) }()
	stuck := connectTo(t, ln.Addr().String())
	remote := <-far
	if _, err := io.WriteString(stuck, "two bytes or more"); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Read(make([]byte, 1)); err != nil { // the rest is being written for good
		t.Fatal(err)
	}
	dialling := connectTo(t, ln.Addr().String())
	<-held

	cancel()
	if err := <-done; err != nil {
		t.Errorf("Forward: %v", err)
	}
	for name, conn := range map[string]net.Conn{"stuck": stuck, "dialling": dialling, "remote": remote} {
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the %s connection is still open: %v", name, err)
		}
	}
	if conn, err := dialer(ln.Addr().String())(t.Context()); err == nil {
		_ = conn.Close()
		t.Error("the listener still accepts")
	}
}

// The same for a local connection that takes nothing. It is a pipe, so that
// what is written to it is stuck for certain.
func TestForwardEndsALocalThatTakesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	local, user := net.Pipe()
	remote, far := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	ln := &givenListener{listen(t), local}
	go func() {
		done <- forwardWith(func(context.Context) (net.Conn, error) { return remote, nil }, discard()).Forward(ctx, ln)
	}()
	if _, err := io.WriteString(far, "two bytes or more"); err != nil {
		t.Fatal(err)
	}
	if _, err := user.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Forward: %v", err)
	}
}

// givenListener accepts one given connection before those of its Listener.
type givenListener struct {
	net.Listener
	first net.Conn
}

func (l *givenListener) Accept() (net.Conn, error) {
	if conn := l.first; conn != nil {
		l.first = nil
		return conn, nil
	}
	return l.Listener.Accept()
}

// failingListener fails a number of accepts before it works.
type failingListener struct {
	net.Listener
	errs []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
	}
	return l.Listener.Accept()
}

func TestForwardOutlivesTemporaryAcceptErrors(t *testing.T) {
	addr := service(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	ln := listen(t)
	startForward(t, &failingListener{ln, []error{syscall.EMFILE, syscall.ECONNABORTED}}, discard(), dialer(addr))
	conn := connectTo(t, ln.Addr().String())
	if _, err := io.WriteString(conn, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Errorf("no echo after the errors: %v", err)
	}
}

func TestForwardReportsAnAcceptThatFailsForGood(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ln := listen(t)
	failing := &failingListener{ln, []error{syscall.EINVAL}}
	err := forwardWith(dialer("127.0.0.1:1"), discard()).Forward(t.Context(), failing)
	if !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("Forward: %v, want the address and the reason", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener was left open: %v", err)
	}
}

func forwardWith(dial func(context.Context) (net.Conn, error), log *slog.Logger) *Forwarder {
	return &Forwarder{Dial: dial, Log: log}
}

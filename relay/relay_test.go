package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names resolves what it holds, and never answers "hangs".
type names map[string]string

func (n names) LookupHost(ctx context.Context, host string) ([]string, error) {
	if strings.HasSuffix(host, "hangs") {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if address, ok := n[host]; ok {
		return strings.Fields(address), nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// relaying runs a server and returns its address.
func relaying(t *testing.T, r resolver) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server{r, slog.New(slog.DiscardHandler)}.serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// shouting answers with capitals once its client has ended.
func shouting(t *testing.T) int {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
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
				text, _ := io.ReadAll(conn)
				_, _ = conn.Write(bytes.ToUpper(text))
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); running.Wait() })
	return ln.Addr().(*net.TCPAddr).Port
}

// ask sends a greeting and a request and returns the connection and the code
// of the answer.
func ask(t *testing.T, relay string, command byte, kind byte, host string, port int) (net.Conn, byte) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", relay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	text := []byte{version, 2, 1, noLogin, version, command, 0, kind}
	if kind == byName {
		text = append(text, byte(len(host))) // #nosec G115 -- a short name
	}
	text = binary.BigEndian.AppendUint16(append(text, host...), uint16(port)) // #nosec G115 -- a port
	if _, err := conn.Write(text); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 2+4+addressLen)
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	return conn, answer[3]
}

func TestRelayReachesNames(t *testing.T) {
	port := shouting(t)
	relay := relaying(t, names{
		"db0": "127.0.0.1",
		// A service with a virtual address that leads nowhere, and its tasks,
		// of which the first is gone.
		"web": "127.0.0.99", "tasks.web": "127.0.0.98 127.0.0.1",
	})
	for what, to := range map[string]struct {
		kind byte
		host string
	}{
		"a name":    {byName, "db0"},
		"a service": {byName, "web"},
		"IPv4":      {byIPv4, "\x7f\x00\x00\x01"},
	} {
		conn, code := ask(t, relay, connect, to.kind, to.host, port)
		if code != succeeded {
			t.Errorf("%s: code %d", what, code)
			continue
		}
		_, _ = io.WriteString(conn, "all of it")
		_ = conn.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(conn); string(got) != "ALL OF IT" || err != nil {
			t.Errorf("%s: answered %q, %v", what, got, err)
		}
	}
}

func TestRelayTellsWhyNot(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().(*net.TCPAddr).Port
	_ = ln.Close()
	relay := relaying(t, names{"db0": "127.0.0.1"})
	const bind, udp = 2, 3
	for what, to := range map[string]struct {
		command, kind byte
		host          string
		want          byte
	}{
		"a port that nobody listens on": {connect, byName, "db0", connectionRefused},
		"a name that there is not":      {connect, byName, "db9", hostUnreachable},
		"UDP":                           {udp, byName, "db0", notSupported},
		"to listen":                     {bind, byName, "db0", notSupported},
		"another kind of address":       {connect, 9, "", otherAddress},
	} {
		if _, code := ask(t, relay, to.command, to.kind, to.host, closed); code != to.want {
			t.Errorf("%s: code %d, not %d", what, code, to.want)
		}
	}
}

func TestRelayRefusesWhatIsNoSOCKS5(t *testing.T) {
	relay := relaying(t, names{})
	for what, text := range map[string]string{"HTTP": "GET / HTTP/1.1\r\n\r\n" + strings.Repeat("x", 100), "SOCKS4": "\x04\x01\x00\x50", "a password": "\x05\x01\x02"} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", relay)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, text)
		_ = conn.(*net.TCPConn).CloseWrite()
		if got, _ := io.ReadAll(conn); len(got) > 1 && got[1] != noMethod {
			t.Errorf("%s: answered %q", what, got)
		}
		_ = conn.Close()
	}
}

// A name server outside that never answers holds nothing up.
func TestResolveDoesNotWaitForTasks(t *testing.T) {
	s := server{resolver: slowTasks{}}
	hosts, err := s.resolve(t.Context(), "example")
	if err != nil || len(hosts) != 1 {
		t.Errorf("resolved to %v, %v", hosts, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := (server{resolver: names{}}).resolve(ctx, "hangs"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("resolve: %v", err)
	}
}

// slowTasks knows plain names, and answers late for tasks.
type slowTasks struct{}

func (slowTasks) LookupHost(ctx context.Context, host string) ([]string, error) {
	if strings.HasPrefix(host, "tasks.") {
		late := time.NewTimer(500 * time.Millisecond)
		defer late.Stop()
		select {
		case <-ctx.Done():
		case <-late.C:
		}
		return nil, errors.New("no such host")
	}
	return []string{"127.0.0.1"}, nil
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x03db0\x1f\x90"))
	f.Fuzz(func(t *testing.T, text []byte) {
		to, err := request(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(text), io.Discard})
		if err == nil && (to.port < 0 || to.port > 65535) {
			t.Errorf("%s %s", to.host, strconv.Itoa(to.port))
		}
	})
}

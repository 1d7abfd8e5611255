package ports

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

// After a kill the socket is still there, and nobody listens on it.
func TestServeTakesAStaleSocketOver(t *testing.T) {
	dir := testHome(t)
	staleSocket(t, process{dir, "dev"}.socket())
	serving(t, dir, "dev", echoDialer(""))
}

func staleSocket(t *testing.T, path string) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = ln.Close()
}

func TestListenNeedsThePortOnAllLoopbacks(t *testing.T) {
	for _, other := range []struct{ network, host string }{{"tcp4", "127.0.0.1"}, {"tcp4", "0.0.0.0"}, {"tcp6", "::1"}, {"tcp", "::"}} {
		t.Run(other.host, func(t *testing.T) {
			if strings.Contains(other.host, ":") && !hasIPv6(t) {
				// Nothing to collide with: listen must do without ::1 instead.
				lns, err := listen(t.Context(), "", freePorts(t, 1))
				if err != nil || len(lns) != 1 {
					t.Errorf("listened on %d addresses: %v", len(lns), err)
				}
				closeAll(lns)
				return
			}
			port := freePorts(t, 1)
			occupy(t, other.network, other.host, port)
			lns, err := listen(t.Context(), "", port)
			closeAll(lns)
			if !errors.Is(err, errInUse) {
				t.Errorf("listen: %v", err)
			}
		})
	}
}

func hasIPv6(t *testing.T) bool {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp6", "[::1]:0")
	if err == nil {
		_ = ln.Close()
	}
	return err == nil
}

func TestSocketPathTooLong(t *testing.T) {
	dir := testHome(t)
	dir.State += "/" + strings.Repeat("x", 100)
	c := client(dir)
	if _, err := c.Open(t.Context(), "dev", "web", 80, Local{}); err == nil || !strings.Contains(err.Error(), "XDG_STATE_HOME") {
		t.Errorf("Open: %v", err)
	}
	if _, err := c.Close(t.Context(), "dev", "", 0); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// Only what asks for it is reachable from elsewhere.
func TestBindTakesThePlaceOfLoopback(t *testing.T) {
	dir, port := testHome(t), freePorts(t, 1)
	serving(t, dir, "dev", echoDialer(echo(t)))
	c := client(dir)
	tun, err := c.Open(t.Context(), "dev", "web", port, Local{Bind: "127.0.0.1"})
	if err != nil || tun.Bind != "127.0.0.1" || tun.LocalPort != port {
		t.Fatalf("opened %+v, %v", tun, err)
	}
	checkAt(t, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), tun)
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", net.JoinHostPort("::1", strconv.Itoa(port))); err == nil {
		_ = conn.Close()
		t.Error("it answers on ::1, too")
	}
	if _, err := c.Open(t.Context(), "dev", "web", port, Local{Bind: "0.0.0.0"}); err == nil || !strings.Contains(err.Error(), "127.0.0.1:") {
		t.Errorf("opened again elsewhere: %v", err)
	}
}

func TestSocketThatIsNotOursIsSpared(t *testing.T) {
	dir := testHome(t)
	file, busy := dir.State+"/file", dir.State+"/busy.sock"
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", busy)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	for path, want := range map[string]string{file: "is no socket", busy: "in use", dir.State + "/" + strings.Repeat("x", 100): "systems allow"} {
		ln, err := listenSocket(t.Context(), path)
		if err == nil {
			_ = ln.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if text, _ := os.ReadFile(file); string(text) != "mine" {
		t.Errorf("the file is %q", text)
	}
}

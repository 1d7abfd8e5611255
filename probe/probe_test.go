package probe

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func portOf(t *testing.T, s *httptest.Server) int {
	t.Helper()
	_, text, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestTransfersBothWays(t *testing.T) {
	s := httptest.NewServer(Handler(0))
	defer s.Close()
	got := try(t.Context(), []string{"127.0.0.1"}, portOf(t, s))
	if want := []Result{{To: "127.0.0.1", Small: true, Large: true}}; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// What is small passes and what is large is changed on its way.
func TestTellsLargeFromSmall(t *testing.T) {
	honest := Handler(0)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > small {
			_, _ = io.Copy(io.Discard, r.Body) // else the answer may be lost with it
			_, _ = io.WriteString(w, "another digest")
			return
		}
		honest.ServeHTTP(w, r)
	}))
	defer s.Close()
	r := tryOne(t.Context(), "127.0.0.1", portOf(t, s))
	if !r.Small || r.Large || !strings.Contains(r.Words, "not what was sent") {
		t.Errorf("%+v", r)
	}
}

func TestDownloadsAreComparedToo(t *testing.T) {
	honest := Handler(0)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = w.Write(data(large - 1))
			return
		}
		honest.ServeHTTP(w, r)
	}))
	defer s.Close()
	r := tryOne(t.Context(), "127.0.0.1", portOf(t, s))
	if !r.Small || r.Large {
		t.Errorf("%+v", r)
	}
}

// A packet of a size fills that many bytes with IP's header, and its answer is
// known by number, sender and size.
func TestEchoes(t *testing.T) {
	for _, e := range []echo{v4(), v6()} {
		to := netip.MustParseAddr("192.0.2.1")
		if !e.is4 {
			to = netip.MustParseAddr("2001:db8::1")
		}
		asked := []question{{to: to, size: Ethernet}, {to: to, size: 1400}}
		p := e.packet(7, 1, 1400)
		if len(p)+e.header != 1400 {
			t.Errorf("%s: %d bytes", e.network, len(p))
		}
		if e.is4 && checksum(p) != 0 {
			t.Errorf("its checksum is wrong")
		}
		from := &net.IPAddr{IP: to.AsSlice()}
		e.note(asked, 7, p, from) // our own request, not an answer
		p[0] = e.reply
		e.note(asked, 8, p, from)                              // of somebody else
		e.note(asked, 7, p[:100], from)                        // cut
		e.note(asked, 7, p, &net.IPAddr{IP: net.IPv6loopback}) // from elsewhere
		if largest(asked, to) != 0 {
			t.Errorf("%s: %+v", e.network, asked)
		}
		e.note(asked, 7, p, from)
		if largest(asked, to) != 1400 || answered(asked) {
			t.Errorf("%s: %+v", e.network, asked)
		}
		asked[0].came, asked[1].came = true, false
		if !answered(asked) {
			t.Errorf("%s: the largest came, and it waits for others", e.network)
		}
	}
}

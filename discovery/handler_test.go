package discovery

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

// service is a handler on a store of its own, with a clock that tests turn.
type service struct {
	*handler
	t     testing.TB
	clock time.Time
	from  string // the client's address
}

func newService(t testing.TB, limits Limits, rate int) *service {
	t.Helper()
	s := &service{t: t, clock: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC), from: "192.0.2.7:5555"}
	now := func() time.Time { return s.clock }
	store, err := openStore(filepath.Join(t.TempDir(), "db"), limits, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.close(); err != nil {
			t.Error(err)
		}
	})
	s.handler = &handler{store: store, limiter: newLimiter(rate, now), metrics: newMetrics(), log: slog.New(slog.DiscardHandler)}
	return s
}

func (s *service) do(method, path, body string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, "/", strings.NewReader(body))
	r.URL.Path, r.RemoteAddr = path, s.from
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// want checks the status and returns what was told of the id.
func (s *service) want(code int, method, path, body string) Answer {
	s.t.Helper()
	w := s.do(method, path, body)
	var told struct {
		Answer
		Error string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || w.Header().Get("Content-Type") != "application/json" {
		s.t.Errorf("%s %s: no JSON: %s", method, path, w.Body)
	}
	if w.Code != code || (told.Error == "") != (code == http.StatusOK) {
		s.t.Errorf("%s %s %.80s: %d %s, not %d", method, path, body, w.Code, w.Body, code)
	}
	return told.Answer
}

func (s *service) create() string { return s.want(200, "POST", "/", "").DiscoID }

func addr(n int) string { return fmt.Sprintf(`{"addr":"http://10.0.0.%d:4001"}`, n) }

func (s *service) wantNodes(got Answer, want ...string) {
	s.t.Helper()
	for i := range want {
		want[i] = "http://10.0.0." + want[i] + ":4001"
	}
	if !slices.Equal(got.Nodes, want) {
		s.t.Errorf("nodes %v, not %v", got.Nodes, want)
	}
}

func TestNodesFindEachOther(t *testing.T) {
	s := newService(t, Limits{}, 0)
	w := s.do("POST", "/", "")
	var raw map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &raw); err != nil || len(raw) != 3 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if nodes, ok := raw["nodes"].([]any); !ok || len(nodes) > 0 || raw["created_at"] != "2020-01-02T03:04:05Z" {
		t.Errorf("created: %s", w.Body)
	}
	id, _ := raw["disco_id"].(string)
	if _, err := uuid.Parse(id); err != nil || w.Header().Get("Location") != "/"+id {
		t.Errorf("id %q, location %q", id, w.Header().Get("Location"))
	}

	s.wantNodes(s.want(200, "POST", "/"+id, addr(3)), "3")
	s.wantNodes(s.want(200, "POST", "/"+id, addr(1)), "3", "1")
	s.wantNodes(s.want(200, "POST", "/"+id, addr(2)), "3", "1", "2")
	// Again, nothing changes, nor does the order.
	s.wantNodes(s.want(200, "POST", "/"+id, addr(3)), "3", "1", "2")
	s.wantNodes(s.want(200, "GET", "/"+id, ""), "3", "1", "2")
	s.wantNodes(s.want(200, "DELETE", "/"+id, addr(1)), "3", "2")
	s.wantNodes(s.want(200, "DELETE", "/"+id, addr(1)), "3", "2")
	// However the path is put together, nobody has to follow a redirect.
	for _, path := range []string{"//" + id, "/" + id + "/", "/" + strings.ToUpper(id)} {
		s.wantNodes(s.want(200, "GET", path, ""), "3", "2")
	}
	other := s.create()
	s.wantNodes(s.want(200, "GET", "/"+other, ""))
}

func TestBadRequestsAreRefused(t *testing.T) {
	s := newService(t, Limits{}, 0)
	id := s.create()
	s.want(200, "POST", "/"+id, addr(1))
	for _, path := range []string{"/" + uuid.NewString(), "/x", "/" + id + "x", "/{" + id + "}", "/urn:uuid:" + id, "/a/b", "/" + id + "/x", "/\x00"} {
		s.want(404, "GET", path, "")
		s.want(404, "POST", path, addr(1))
		s.want(404, "DELETE", path, addr(1))
	}
	for _, body := range []string{
		"", "{", "[]", "7", `"x"`, `{"addr":7}`, `{}`, `{"addr":""}`, `{"addr":"x"}`, `{"addr":"http://"}`, `{"addr":":4001"}`,
		`{"addr":"10.0.0.1:0"}`, `{"addr":"10.0.0.1:65536"}`, `{"addr":"10.0.0.1:x"}`, `{"addr":"http://u:p@h:1"}`, `{"addr":"http://h:1/path"}`,
		`{"addr":"a b:1"}`, `{"addr":"$(id):1"}`, `{"addr":"-o:1"}`, `{"addr":"a\nb:1"}`, `{"addr":"` + strings.Repeat("a", 300) + `:1"}`,
		`{"addr":"10.0.0.1:1","ttl":-1}`, `{"addr":"10.0.0.1:1","ttl":86401}`, `{"addr":"10.0.0.1:1","ttl":"1m"}`,
	} {
		s.want(400, "POST", "/"+id, body)
		s.want(400, "DELETE", "/"+id, body)
	}
	s.want(413, "POST", "/"+id, strings.Repeat(" ", maxBody+1))
	s.want(405, "GET", "/", "")
	s.want(405, "PATCH", "/"+id, "")
	s.wantNodes(s.want(200, "GET", "/"+id, ""), "1")
}

func TestLimits(t *testing.T) {
	s := newService(t, Limits{Addresses: 2, ClientIDs: 2, IDs: 3}, 0)
	id := s.create()
	s.want(200, "POST", "/"+id, addr(1))
	s.want(200, "POST", "/"+id, addr(2))
	s.want(403, "POST", "/"+id, addr(3))
	s.want(200, "POST", "/"+id, addr(2))
	s.want(200, "DELETE", "/"+id, addr(1))
	s.want(200, "POST", "/"+id, addr(3))

	s.create()
	s.want(429, "POST", "/", "")
	s.from = "[2001:db8::1]:80"
	s.create()
	s.want(503, "POST", "/", "")
}

func TestRateIsLimitedByClient(t *testing.T) {
	s := newService(t, Limits{}, 5)
	id := s.create()
	for range 9 {
		s.want(200, "GET", "/"+id, "")
	}
	s.want(429, "GET", "/"+id, "")
	if w := s.do("GET", "/"+id, ""); w.Header().Get("Retry-After") != "1" {
		t.Errorf("headers %v", w.Header())
	}
	s.want(200, "GET", "/healthz", "")
	s.from = "192.0.2.8:1"
	s.want(200, "GET", "/"+id, "")
	s.from = "192.0.2.7:1"
	s.clock = s.clock.Add(time.Second)
	for range 5 {
		s.want(200, "GET", "/"+id, "")
	}
	s.want(429, "GET", "/"+id, "")
	if text := s.do("GET", "/metrics", "").Body.String(); !strings.Contains(text, "skep_discovery_limited_total 3\n") {
		t.Errorf("metrics:\n%s", text)
	}
}

func TestAddressesAndIdsExpire(t *testing.T) {
	s := newService(t, Limits{Idle: 30 * 24 * time.Hour, ClientIDs: 2}, 0)
	id, idle := s.create(), s.create()
	s.want(200, "POST", "/"+id, `{"addr":"http://10.0.0.1:4001","ttl":60}`)
	s.want(200, "POST", "/"+id, addr(2))
	s.clock = s.clock.Add(59 * time.Second)
	s.wantNodes(s.want(200, "POST", "/"+id, `{"addr":"http://10.0.0.1:4001","ttl":60}`), "1", "2")
	s.clock = s.clock.Add(59 * time.Second)
	s.wantNodes(s.want(200, "GET", "/"+id, ""), "1", "2")
	s.clock = s.clock.Add(time.Second)
	s.wantNodes(s.want(200, "GET", "/"+id, ""), "2")
	// Gone is gone: it comes back behind the others.
	s.wantNodes(s.want(200, "POST", "/"+id, addr(1)), "2", "1")

	// A read every ten days keeps an id.
	for range 4 {
		s.clock = s.clock.Add(10 * 24 * time.Hour)
		s.wantNodes(s.want(200, "GET", "/"+id, ""), "2", "1")
	}
	s.want(404, "GET", "/"+idle, "")
	s.want(429, "POST", "/", "")
	if n, err := s.store.sweep(); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	s.create()
	if text := s.do("GET", "/metrics", "").Body.String(); !strings.Contains(text, "skep_discovery_ids 2\n") {
		t.Errorf("metrics:\n%s", text)
	}
}

func TestSweepOfManyIds(t *testing.T) {
	s := newService(t, Limits{Idle: time.Hour}, 0)
	const many = 2*sweepStep + 7
	err := s.store.db.Update(func(tx *bbolt.Tx) error {
		for range many {
			if err := put(tx, uuid.NewString(), group{Used: s.clock}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.store.ids.Add(many)
	if n, err := s.store.sweep(); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	s.clock = s.clock.Add(2 * time.Hour)
	id := s.create()
	if n, err := s.store.sweep(); n != many || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	s.want(200, "GET", "/"+id, "")
	if n := s.store.ids.Load(); n != 1 {
		t.Errorf("%d ids are left", n)
	}
}

func TestMetricsHaveEveryRequest(t *testing.T) {
	s := newService(t, Limits{}, 0)
	id := s.create()
	s.want(200, "POST", "/"+id, addr(1))
	s.want(404, "GET", "/nothing", "")
	s.want(405, "MADEUP", "/", "")
	text := s.do("GET", "/metrics", "").Body.String()
	for _, line := range []string{
		`skep_discovery_requests_total{method="POST",code="200"} 2`, `skep_discovery_requests_total{method="GET",code="404"} 1`,
		`skep_discovery_requests_total{method="other",code="405"} 1`, "skep_discovery_ids 1",
		`skep_discovery_request_seconds_bucket{le="+Inf"} 4`, "skep_discovery_request_seconds_count 4",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

func TestLimiterForgets(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLimiter(1, func() time.Time { return now })
	for i := range 3 * maxClients {
		l.allow(fmt.Sprint(i))
		if len(l.clients) > maxClients {
			t.Fatalf("remembers %d clients", len(l.clients))
		}
	}
}

func TestClients(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:99": "192.0.2.1", "[::ffff:192.0.2.1]:99": "192.0.2.1", "[2001:db8:1:2:3::4]:99": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:99": "fe80::/64", "pipe": "pipe",
	} {
		if got := clientOf(remote); got != want {
			t.Errorf("%s is %s, not %s", remote, got, want)
		}
	}
}

// Whatever comes, it is the client's fault.
func FuzzRequests(f *testing.F) {
	s := newService(f, Limits{Addresses: 10, ClientIDs: 10, IDs: 20}, 0)
	s.store.db.NoSync = true
	id := s.create()
	for _, method := range []string{"GET", "POST", "DELETE", "HEAD", ""} {
		for _, path := range []string{"/", "/" + id, "//" + id + "/", "/healthz", "/metrics", "/%", "/\xff", "*", ""} {
			for _, body := range []string{"", addr(1), `{"addr":"http://[::1]:4001","ttl":1e9}`, `{"addr":"\ud800:1"}`, "\xff", "nul", strings.Repeat("[", 4000)} {
				f.Add(method, path, body)
			}
		}
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		r.Method, r.URL.Path, r.RemoteAddr = method, path, s.from
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
			t.Errorf("%q %q %q: %d", method, path, body, w.Code)
		}
		if strings.Trim(path, "/") != "metrics" && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q %q %q: no JSON: %q", method, path, body, w.Body)
		}
		// What was taken in can be told again.
		list := httptest.NewRecorder()
		again := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+id, nil)
		again.RemoteAddr = s.from
		s.ServeHTTP(list, again)
		var told Answer
		if err := json.Unmarshal(list.Body.Bytes(), &told); err != nil || list.Code != http.StatusOK || len(told.Nodes) > 10 {
			t.Fatalf("%q %q %q: then %d %q, %v", method, path, body, list.Code, list.Body, err)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, a := range []string{"http://10.0.0.1:4001", "a:1", "[::1]:1", "https://h", "tcp://h:1/", "h", "://", "a%20b:1"} {
		f.Add(a)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		a, err := ParseAddress(addr)
		if err != nil {
			return
		}
		if a.Host == "" || strings.ContainsAny(a.Host, " \t\n;&|$`\"'<>(){}") || a.Host[0] == '-' {
			t.Errorf("%q has host %q", addr, a.Host)
		}
	})
}

func TestHeadTellsNothingButWorks(t *testing.T) {
	s := newService(t, Limits{}, 0)
	server := httptest.NewServer(s)
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, server.URL+"/"+s.create(), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != 200 || len(text) > 0 {
		t.Errorf("%s: %s", response.Status, text)
	}
}

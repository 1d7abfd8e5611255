package digitalocean

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skep/providers"
	"skep/testdata/cloud/api"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "dop_v1_c0ffee"

// rented is an account at a cloud of records, and the real client of it.
type rented struct {
	*Driver
	cloud *api.Cloud
	t     *testing.T
}

func quick() pace {
	return pace{
		poll: 20 * time.Millisecond, lag: 200 * time.Millisecond, active: 2 * time.Second,
		off: 200 * time.Millisecond, gone: 2 * time.Second, retry: 5 * time.Millisecond,
	}
}

// rent opens an account with faults, and a driver that knows nothing else.
func rent(t *testing.T, f api.Faults) *rented {
	t.Helper()
	clearEnv(t)
	cloud := api.New(token, nil, f)
	server := httptest.NewServer(cloud)
	t.Setenv("DIGITALOCEAN_ACCESS_TOKEN", token)
	t.Setenv("DIGITALOCEAN_API_URL", server.URL)
	r := &rented{cloud: cloud, t: t}
	r.Driver = r.another()
	t.Cleanup(func() {
		server.Close()
		cloud.Close()
	})
	return r
}

// another is a driver that remembers nothing, with the same key.
func (r *rented) another() *Driver {
	r.t.Helper()
	key := filepath.Join(r.t.TempDir(), "id")
	if r.Driver != nil {
		key = r.Key
	}
	d := &Driver{Key: key, Version: "test", pace: quick()}
	r.t.Cleanup(func() {
		if api, err := d.client(); err == nil {
			api.HTTPClient.CloseIdleConnections()
		}
	})
	return d
}

func clearEnv(t *testing.T) {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "DIGITALOCEAN_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
}

// specsOf is a batch spread over regions.
func specsOf(env string, managers, workers int, regions ...string) []providers.Spec {
	var names []string
	for n := range managers {
		names = append(names, fmt.Sprintf("%s-manager-%d", env, n+1))
	}
	for n := range workers {
		names = append(names, fmt.Sprintf("%s-worker-%d", env, n+1))
	}
	var all []providers.Spec
	for i, name := range names {
		s := providers.Spec{Env: env, Name: name, Role: roleOf(env, name), Driver: Name, Batch: names}
		if len(regions) > 0 {
			s.Region = regions[i%len(regions)]
		}
		all = append(all, s)
	}
	return all
}

// create checks and creates as nodes does.
func (r *rented) create(specs []providers.Spec) ([]providers.Machine, error) {
	r.t.Helper()
	checked, err := r.Check(r.t.Context(), specs)
	if err != nil {
		return nil, err
	}
	return r.Create(r.t.Context(), checked)
}

func (r *rented) must(specs []providers.Spec) []providers.Machine {
	r.t.Helper()
	made, err := r.create(specs)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(made) != len(specs) {
		r.t.Fatalf("made %d of %d", len(made), len(specs))
	}
	return made
}

// purge has somebody else remove everything, and sees that nothing is left.
func (r *rented) purge() {
	r.t.Helper()
	if err := r.another().Purge(r.t.Context(), "tst"); err != nil {
		r.t.Error("purge:", err)
	}
	r.nothing()
}

// nothing sees that the account is as empty as it was, and never had twins.
func (r *rented) nothing() {
	r.t.Helper()
	deadline := time.Now().Add(time.Second)
	for {
		s := r.cloud.State()
		if len(s.Twins) > 0 {
			r.t.Fatalf("twins of %v", s.Twins)
		}
		if len(s.Droplets)+len(s.Tags)+len(s.Keys) == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("left: %v, %v, %v", s.Droplets, s.Tags, s.Keys)
		}
		_ = pause(r.t.Context(), 10*time.Millisecond) // lists that lag forget
	}
}

func (r *rented) count(kinds ...string) int {
	n := 0
	for kind, calls := range r.cloud.State().Calls {
		if len(kinds) == 0 || slices.Contains(kinds, kind) {
			n += calls
		}
	}
	return n
}

// wants checks that an error is one line, says the words and no token.
func wants(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", words)
	}
	if strings.Contains(err.Error(), token) {
		t.Errorf("the token is in %q", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in %q", w, err)
		}
	}
}

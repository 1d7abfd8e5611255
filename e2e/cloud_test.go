package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skep/testdata/cloud/api"
	"skep/testdata/cloud/droplets"
	"skep/testdata/cloud/hosts"
)

// ownAccount keeps the account of whoever runs the tests out of them.
func ownAccount() {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "DIGITALOCEAN_") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("DIGITALOCEAN_CONTEXT", "of-no-token") // in doctl's file
}

// sweepHosts removes hosts of tests that were killed.
func sweepHosts() error {
	var errs []error
	for _, kind := range []struct{ list, remove []string }{
		{[]string{"ps", "-a"}, []string{"rm", "-f", "-v"}},
		{[]string{"volume", "ls"}, []string{"volume", "rm", "-f"}},
		{[]string{"network", "ls"}, []string{"network", "rm"}},
	} {
		format := `{{.Label "` + hosts.Label + `"}} {{.Name}}`
		if kind.list[0] != "volume" { // a name may be there twice
			format = `{{.Label "` + hosts.Label + `"}} {{.ID}}`
		}
		out, err := output("docker", append(kind.list, "--filter", "label="+hosts.Label, "--format", format)...)
		errs = append(errs, err)
		for line := range strings.Lines(out) {
			cloud, name, _ := strings.Cut(strings.TrimSpace(line), " ")
			if strings.HasPrefix(cloud, envPrefix) {
				_, err := output("docker", append(kind.remove, name)...)
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// account is one at a test cloud of its own.
type account struct {
	*api.Cloud
	t     *testing.T
	token string
	url   string
}

// rent opens an account whose droplets are real, or records alone. What it made
// is gone with the test.
func rent(t *testing.T, name string, withHosts bool, f api.Faults) *account {
	t.Helper()
	a := &account{t: t, token: "dop_v1_" + strings.Repeat(name, 3) + "secret"}
	var making api.Hosts
	if withHosts {
		version, err := output(binary(), "version")
		if err != nil {
			t.Fatal(err)
		}
		maker, err := hosts.Open(envPrefix+name, "skep-node:"+strings.TrimSpace(version))
		if err != nil {
			t.Fatal(err)
		}
		making = droplets.Hosts{Maker: maker}
		t.Cleanup(func() {
			if err := maker.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	a.Cloud = api.New(a.token, making, f)
	t.Cleanup(a.Close)
	server := httptest.NewServer(a.Cloud)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// user is somebody who has the account's token.
func (a *account) user() *user {
	u := newUser(a.t)
	u.env = []string{"DIGITALOCEAN_ACCESS_TOKEN=" + a.token, "DIGITALOCEAN_API_URL=" + a.url}
	return u
}

// empty checks that nothing is left, and that no name was ever given twice.
func (a *account) empty() {
	a.t.Helper()
	eventually(a.t, 5*time.Second, "an empty account", func() error { // lists lag
		if s := a.State(); len(s.Droplets)+len(s.Tags)+len(s.Keys) > 0 {
			return fmt.Errorf("left: %v, %v, %v", s.Droplets, s.Tags, s.Keys)
		}
		return nil
	})
	if s := a.State(); len(s.Twins) > 0 {
		a.t.Errorf("twins of %v", s.Twins)
	}
}

// secret checks that the token is in no file of the user and in no user data.
func (a *account) secret(u *user) {
	a.t.Helper()
	seen := 0
	files := os.DirFS(u.home)
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		seen++
		text, err := fs.ReadFile(files, path)
		if err == nil && strings.Contains(string(text), a.token) {
			a.t.Errorf("the token is in %s", path)
		}
		return err
	})
	if err != nil || seen == 0 {
		a.t.Errorf("%d files read: %v", seen, err)
	}
	for _, data := range a.State().UserData {
		if strings.Contains(data, a.token) || strings.Contains(data, "PRIVATE") {
			a.t.Errorf("a secret is in user data: %s", data)
		}
	}
}

// watchArguments looks for the token in the arguments of every process until
// the test ends.
func (a *account) watchArguments() {
	done := make(chan struct{})
	watched := make(chan int)
	go func() {
		seen := 0
		defer func() { watched <- seen }()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, file := range files {
				text, _ := os.ReadFile(file)
				if strings.Contains(string(text), "skep") {
					seen++
				}
				if strings.Contains(string(text), a.token) {
					a.t.Errorf("the token is in arguments: %q", text)
				}
			}
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	a.t.Cleanup(func() {
		close(done)
		if <-watched == 0 {
			a.t.Error("no process of skep was seen")
		}
	})
}

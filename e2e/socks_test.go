package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Over a SOCKS5 proxy a client on this computer reaches services and single
// tasks by the names that they have among themselves.
func TestSocks(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	env := u.environment("socks")
	u.must("nodes", "create", "-m", "1", env)
	u.refused(1, []string{"no overlay network"}, "tunnel", "socks", env)
	u.refused(1, []string{"not built for Linux"}, "tunnel", "socks", "--relay", "main_test.go", env)
	u.must("rqlite", "create", env)
	var all []tunnelRow
	if err := json.Unmarshal([]byte(u.must("tunnel", "socks", env, "--json").out), &all); err != nil || len(all) != 1 {
		t.Fatalf("tunnel socks --json: %v, %+v", err, all)
	}
	proxy, err := url.Parse(fmt.Sprintf("socks5h://localhost:%d", all[0].LocalPort))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{Proxy: http.ProxyURL(proxy), DisableKeepAlives: true}}
	reached := func(host string) error {
		response, err := client.Get("http://" + host + ":4001/readyz") //nolint:noctx // the client has a timeout
		if err == nil {
			err = response.Body.Close()
		}
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %s", response.Status)
		}
		return err
	}
	for _, host := range []string{"rqlite", "tasks.rqlite", "rq-" + env + "-manager-1"} {
		eventually(t, time.Minute, host, func() error { return reached(host) })
	}
	if err := reached("nothing"); err == nil {
		t.Error("a name that there is not was reached")
	}
	u.must("tunnel", "socks", env) // again, and nothing changes
	if err := reached("rqlite"); err != nil {
		t.Error(err)
	}
	u.must("tunnel", "close", env)
	if left := docker(t, "exec", env+"-manager-1", "docker", "service", "ls", "--format", "{{.Name}}"); strings.TrimSpace(left) != "rqlite" {
		t.Errorf("services after close: %s", left)
	}
}

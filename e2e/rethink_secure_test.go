package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// Passwords and certificates: kept where nobody else looks, changed while the
// cluster runs, found again by another computer.
func TestRethinkIsSecure(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	c := &cluster{user: u, env: u.environment("secure"), servers: 2}
	u.must("nodes", "create", "-m", "1", c.env)
	u.refused(2, []string{"password"}, "rethink", "create", "--password-file", "/nowhere", c.env)
	u.refused(2, []string{"rotate"}, "rethink", "create", "--tls=false", "--rotate-certs", c.env)
	u.must("rethink", "create", "--image", rethinkImage, "--tls", c.env)
	c.heals("create with TLS")
	t.Run("the password is in no argument", func(t *testing.T) { noArgument(t, c) })
	t.Run("the page speaks TLS alone", func(t *testing.T) { speaksTLS(t, c) })
	u.refused(1, []string{"rethink rm"}, "rethink", "create", "--image", rethinkImage, "--tls=false", c.env)

	before := certificate(t, c)
	if out := u.must("rethink", "create", "--image", rethinkImage, "--rotate-certs", c.env).errs; strings.Count(out, "updated") != 6 {
		t.Errorf("three steps of two services each: %s", out)
	}
	c.heals("the rotation")
	if certificate(t, c) == before {
		t.Error("the certificate is the same")
	}
	if left := docker(t, "exec", c.env+"-manager-1", "docker", "secret", "ls", "-q"); len(strings.Fields(left)) != 3 {
		t.Errorf("secrets: %s", left)
	}

	file := filepath.Join(t.TempDir(), "password")
	for text, refused := range map[string]bool{"two words\n": true, "": true, "t0p-Secret!\n": false} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if refused {
			u.refused(2, []string{"password"}, "rethink", "create", "--image", rethinkImage, "--password-file", file, c.env)
			continue
		}
		u.must("rethink", "create", "--image", rethinkImage, "--password-file", file, c.env)
	}
	if got := c.password(); got != "t0p-Secret!" {
		t.Errorf("kept is %q", got)
	}
	// Another computer has nothing, this one an old password.
	kept := filepath.Join(u.home, "c", "skep", "passwords", c.env+".rethink")
	for _, old := range []string{"", "old"} {
		if err := errors.Join(os.Remove(kept), os.WriteFile(kept, []byte(old), 0o600)); err != nil {
			t.Fatal(err)
		}
		u.must("rethink", "status", c.env)
		if got := c.password(); got != "t0p-Secret!" {
			t.Errorf("found again is %q", got)
		}
	}
}

func noArgument(t *testing.T, c *cluster) {
	password := c.password()
	if len(password) < 20 {
		t.Errorf("the password is %q", password)
	}
	for _, place := range []string{
		docker(t, "exec", c.env+"-manager-1", "sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"),
		docker(t, "exec", c.env+"-manager-1", "sh", "-c", "docker inspect $(docker ps -aq); docker service inspect db0 db1"),
	} {
		if strings.Contains(place, password) {
			t.Error("the password can be read on the node")
		}
	}
}

// pages is a client that looks at certificates itself.
func pages() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
}

func certificate(t *testing.T, c *cluster) string {
	t.Helper()
	serial := ""
	url := fmt.Sprintf("https://127.0.0.1:%d/", c.port("8080"))
	eventually(t, time.Minute, "the page", func() error {
		response, err := pages().Get(url) //nolint:noctx // the client has its timeout
		if err != nil {
			return err
		}
		serial = response.TLS.PeerCertificates[0].SerialNumber.String()
		return response.Body.Close()
	})
	return serial
}

func speaksTLS(t *testing.T, c *cluster) {
	port := c.port("8080")
	eventually(t, time.Minute, "the page", func() error {
		if !asks(pages(), fmt.Sprintf("https://127.0.0.1:%d/", port), "RethinkDB") {
			return errors.New("no page")
		}
		return nil
	})
	if asks(pages(), fmt.Sprintf("http://127.0.0.1:%d/", port), "RethinkDB") {
		t.Error("the page is to be had without TLS")
	}
	_, err := r.Connect(r.ConnectOpts{Address: fmt.Sprintf("127.0.0.1:%d", c.port("28015")), Username: "admin", Password: c.password(), Timeout: 5 * time.Second})
	if err == nil {
		t.Error("a client without TLS is let in")
	}
}

// More and fewer joiners: no table loses its only replica by the way.
func TestRethinkGrowsAndShrinks(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	c := &cluster{user: u, env: u.environment("grow"), servers: 2}
	u.must("nodes", "create", "-m", "1", c.env)
	create := func(n string) []string {
		return []string{"rethink", "create", "--image", rethinkImage, "--cache-size", "100", "-n", n, c.env}
	}
	u.must(create("1")...)
	u.must(create("2")...)
	c.servers = 3
	c.heals("another joiner")
	c.connect()
	c.do(r.DBCreate("shop"))
	c.do(r.DB("shop").TableCreate("here"))
	var only struct {
		ID string `rethinkdb:"id"`
	}
	if err := r.DB("rethinkdb").Table("table_config").Nth(0).ReadOne(&only, c.session); err != nil {
		t.Fatal(err)
	}
	last := "db2_" + strings.ReplaceAll(c.env, "-", "_") + "_manager_1"
	c.do(r.DB("rethinkdb").Table("table_config").Get(only.ID).Update(map[string]any{
		"shards": []any{map[string]any{"primary_replica": last, "replicas": []string{last}}},
	}))
	c.do(r.DB("shop").Table("here").Wait())
	c.do(r.DB("shop").Table("here").Insert(map[string]any{"id": 1}))
	u.refused(1, []string{"shop.here", "only replica", "rethink ha --apply"}, create("1")...)
	c.heals("the refusal")
	u.must("rethink", "ha", "--apply", c.env)
	u.must(create("1")...)
	c.servers = 2
	c.heals("one joiner less")
	var left []int
	eventually(t, time.Minute, "the document", func() error {
		return r.DB("shop").Table("here").Field("id").ReadAll(&left, c.session)
	})
	if len(left) != 1 {
		t.Errorf("documents: %v", left)
	}
	u.refused(2, []string{"negative"}, create("-1")...)
}

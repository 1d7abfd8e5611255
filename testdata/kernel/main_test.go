// Package kernel holds the tests that need a full kernel: IPVS, ESP and netem.
// They run inside the VM that boot.sh boots, on three hosts of which two are 80
// and 200 ms away (see run.sh); `make test-kernel` does all of it.
package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const env = "far"

// The hosts, as run.sh makes them.
func addresses() []string { return []string{"10.77.0.11", "10.77.0.12", "10.77.0.13"} }

// create makes an environment of all hosts, whose first is the manager.
func create(t *testing.T) {
	t.Helper()
	args := []string{"nodes", "create", "-d", "ssh"}
	for _, a := range addresses() {
		args = append(args, "--host", "root@"+a)
	}
	skep(t, append(args, env)...)
}

// skep runs it and returns what it printed; one that fails ends the test.
func skep(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(t.Context(), append([]string{"skep"}, args...)...)
	if err != nil {
		t.Fatalf("skep %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func run(ctx context.Context, args ...string) (string, error) {
	// Clearing up goes on when the test's own time is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
	defer cancel()
	begin := time.Now()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	fmt.Printf("%s: %.1fs %v\n%s%s", strings.Join(args, " "), time.Since(begin).Seconds(), err, out.String(), errs.String())
	if err != nil {
		return out.String() + errs.String(), err
	}
	return out.String(), nil
}

// onHost runs a command in the network of a host, 1 to 3.
func onHost(t *testing.T, n int, args ...string) string {
	t.Helper()
	out, err := run(t.Context(), append([]string{"ip", "netns", "exec", fmt.Sprintf("h%d", n)}, args...)...)
	if err != nil {
		t.Fatal(out, err)
	}
	return out
}

// docker runs a command of the first manager's engine.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(skep(t, append([]string{"nodes", "ssh", env, env + "-manager-1", "--", "docker"}, args...)...))
}

// wantReady checks that all three nodes are Ready in the swarm.
func wantReady(t *testing.T) {
	t.Helper()
	var all []struct{ Name, Status, Swarm string }
	if err := json.Unmarshal([]byte(skep(t, "nodes", "ls", env, "--json")), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != len(addresses()) {
		t.Errorf("%d nodes", len(all))
	}
	for _, n := range all {
		if n.Status != "running" || n.Swarm != "ready" {
			t.Errorf("%s is %s and %s", n.Name, n.Status, n.Swarm)
		}
	}
}

// answers says whether a page has all the words.
func answers(ctx context.Context, method, url, body string, words ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	for _, w := range words {
		if !strings.Contains(string(text), w) {
			return fmt.Errorf("%s: no %q in %.300q", url, w, text)
		}
	}
	return nil
}

const limit = time.Minute

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	begin := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			t.Logf("%s after %.1fs", what, time.Since(begin).Seconds())
			return
		}
		if time.Since(begin) > limit {
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		<-tick.C
	}
}

// open says whether a TCP port answers somebody who is no node.
func open(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

type errText string

func (e errText) Error() string { return string(e) }

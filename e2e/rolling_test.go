package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// updates is how many rolling updates a test makes of an app: one in a run of all
// tests, or as many as $SKEP_UPDATES says.
func updates(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SKEP_UPDATES")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Under load, updates lose no request, and a version that does not come up is
// taken back while the old one serves.
func TestRollingUpdates(t *testing.T) {
	u := newUser(t)
	env := u.environment("roll")
	u.must("nodes", "create", env)
	var nodes []string
	for _, n := range u.nodes(env) {
		nodes = append(nodes, n.Address+":9090")
	}
	deploy := func(replicas int, more ...string) []string {
		return append([]string{"app", "deploy", "-p", "9090", "-r", strconv.Itoa(replicas), "--health", "http://:9090/healthz", "hello", helloImage, env}, more...)
	}
	// With a node to spare the new task comes first, else the old one goes first.
	for _, replicas := range []int{2, 3} {
		t.Run(fmt.Sprintf("%d tasks on 3 nodes", replicas), func(t *testing.T) {
			u.must(deploy(replicas, "-e", "GREETING=before")...)
			l := startLoad(t, nodes...)
			for n := range updates(t) {
				begin := time.Now()
				u.must(deploy(replicas, "-e", fmt.Sprintf("GREETING=v%d-%d", replicas, n))...)
				t.Logf("update %d took %s", n, time.Since(begin).Round(time.Millisecond))
			}
			l.report(t)
			if last := fmt.Sprintf("v%d-%d", replicas, updates(t)-1); l.said[last] == 0 {
				t.Errorf("%s never answered", last)
			}
		})
	}
	t.Run("broken", func(t *testing.T) {
		u.must(deploy(2, "-e", "GREETING=good")...)
		l := startLoad(t, nodes...)
		for what, broken := range map[string][]string{
			"exits at once": {"-e", "ADDR=nonsense"},
			"never healthy": {"--health", "false"},
		} {
			r := u.run(deploy(2, append(broken, "-e", "GREETING=broken")...)...)
			if r.code != 1 || !strings.Contains(r.errs, "the version before was put back") || !strings.Contains(r.errs, "hello@"+env) {
				t.Errorf("%s: exit %d: %s", what, r.code, r.errs)
			}
			if r := u.must(deploy(2, "-e", "GREETING=good")...); !strings.Contains(r.errs, "unchanged") {
				t.Errorf("%s: the version before was not there: %s", what, r.errs)
			}
		}
		l.report(t)
		if l.said["good"] == 0 {
			t.Error("the good version never answered")
		}
	})
}

package e2e

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

var updates = flag.Int("updates", 1, "how many rolling updates to make of an app")

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
			for n := range *updates {
				begin := time.Now()
				u.must(deploy(replicas, "-e", fmt.Sprintf("GREETING=v%d-%d", replicas, n))...)
				t.Logf("update %d took %s", n, time.Since(begin).Round(time.Millisecond))
			}
			l.report(t)
			if last := fmt.Sprintf("v%d-%d", replicas, *updates-1); l.said[last] == 0 {
				t.Errorf("%s never answered", last)
			}
		})
	}
	t.Run("broken", func(t *testing.T) {
		u.must(deploy(2, "-e", "GREETING=good")...)
		l := startLoad(t, nodes...)
		// One of them asks for fewer tasks as well: all that there were are put back.
		for what, broken := range map[string]struct {
			replicas int
			flags    []string
		}{
			"exits at once": {1, []string{"-e", "ADDR=nonsense"}},
			"never healthy": {2, []string{"--health", "false"}},
		} {
			r := u.run(deploy(broken.replicas, append(broken.flags, "-e", "GREETING=broken")...)...)
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

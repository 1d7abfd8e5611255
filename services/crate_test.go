package services

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// crate runs crate.sh as a task on the node does.
func (w *world) crate(node string) []string {
	w.t.Helper()
	w.resolves("crate-"+node, "10.0.2.5")
	w.write("bin/crate", "#!/bin/sh\nfor a; do echo \"$a\"; done\necho \"heap=$CRATE_HEAP_SIZE\"\n")
	script := strings.ReplaceAll(crateStart, "/data/data", w.dir+"/data")
	script = strings.ReplaceAll(strings.ReplaceAll(script, "/proc/meminfo", w.dir+"/meminfo"), "/sys/fs/cgroup", w.dir+"/cgroup")
	args, stderr, err := w.run("bash", script, "HOSTNAME=crate-"+node, "SKEP_NODE="+node, "SKEP_MASTERS=a,b,c", "SKEP_NODES=4", "SKEP_RECOVER=3")
	if err != nil || stderr != "" {
		w.t.Fatalf("%v: %s", err, stderr)
	}
	return args
}

func newCrateWorld(t *testing.T, meminfo string) *world {
	t.Helper()
	w := newWorld(t, "crate")
	w.write("meminfo", "MemTotal:       "+meminfo+" kB\n")
	return w
}

func TestCrateIsToldWhoItIsAndWhereTheOthersAre(t *testing.T) {
	w := newCrateWorld(t, "8000000")
	want := []string{
		"-Ccluster.name=skep", "-Cnode.name=b", "-Cpath.data=" + w.dir + "/data",
		"-Cnetwork.host=0.0.0.0", "-Cnetwork.publish_host=10.0.2.5", "-Chttp.port=4200", "-Ctransport.port=4300",
		"-Cdiscovery.seed_hosts=tasks.crate:4300", "-Cgateway.expected_data_nodes=4", "-Cgateway.recover_after_data_nodes=3",
		"-Ccluster.initial_master_nodes=a,b,c", "heap=1953m",
	}
	if got := w.crate("b"); !slices.Equal(got, want) {
		t.Errorf("started with\n%q, not\n%q", got, want)
	}
}

// Servers that began a cluster each cannot be merged.
func TestCrateBeginsAClusterOnItsFirstBootAlone(t *testing.T) {
	begins := func(w *world, node string) bool {
		return slices.Contains(w.crate(node), "-Ccluster.initial_master_nodes=a,b,c")
	}
	w := newCrateWorld(t, "8000000")
	if !begins(w, "a") || begins(w, "d") || begins(w, "aa") {
		t.Error("not the named nodes begin it")
	}
	w.write("data/nodes/0/state", "")
	if begins(w, "a") {
		t.Error("a node that has data begins another")
	}
}

func TestCrateTakesAQuarterOfTheMemory(t *testing.T) {
	for meminfo, test := range map[string]struct{ limit, want string }{
		"8000001":   {"max", "heap=1953m"},
		"8000002":   {"2147483648", "heap=512m"},
		"8000003":   {"9223372036854771712", "heap=1953m"},
		"500000":    {"max", "heap=256m"},
		"800000000": {"max", "heap=30720m"},
	} {
		for _, file := range []string{"cgroup/memory.max", "cgroup/memory/memory.limit_in_bytes"} {
			w := newCrateWorld(t, meminfo)
			w.write(file, test.limit+"\n")
			args := w.crate("a")
			if got := args[len(args)-1]; got != test.want {
				t.Errorf("%s kB, %s in %s: %s, not %s", meminfo, test.limit, file, got, test.want)
			}
		}
	}
}

// sysctl runs the command on a file in the place of the kernel's.
func sysctl(t *testing.T, s Sysctl, dir string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := strings.ReplaceAll(s.command(), "/etc/sysctl.d", dir+"/etc")
	if dir != "" {
		command = strings.ReplaceAll(command, "/proc/sys", dir)
	}
	c := exec.CommandContext(ctx, "sh", "-c", command)
	c.Env = append(os.Environ(), "PATH="+dir+"/bin:"+os.Getenv("PATH"))
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestSysctlIsRaisedAndWrittenDown(t *testing.T) {
	s := Sysctl{Name: "vm.max_map_count", Least: 262144}
	for before, after := range map[string]int{"65530": 262144, "262144": 262144, "300000": 300000} {
		w := newWorld(t, "x")
		w.write("vm/max_map_count", before+"\n")
		w.write("bin/sudo", "#!/bin/sh\n[ \"$1\" = -n ] || exit 3\nshift\nexec \"$@\"\n")
		for range 2 {
			is, kept, why, err := s.read(sysctl(t, s, w.dir))
			if is != after || !kept || why != "" || err != nil {
				t.Errorf("%s: then %d, %v, %q, %v", before, is, kept, why, err)
			}
		}
		if got := w.read("etc/90-skep-vm-max_map_count.conf"); got != "vm.max_map_count = 262144\n" {
			t.Errorf("%s: kept %q", before, got)
		}
	}
}

// A setting that nobody may change is refused with the kernel's reason, and not
// written down.
func TestSysctlThatCannotBeSet(t *testing.T) {
	s := Sysctl{Name: "kernel.ngroups_max", Least: 1 << 30}
	dir := t.TempDir()
	command := strings.ReplaceAll(s.command(), "/etc/sysctl.d", dir+"/etc")
	out, err := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(command, "sudo -n ", "")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	is, kept, why, err := s.read(string(out))
	if is != 65536 || kept || !strings.Contains(why, "denied") || err != nil {
		t.Errorf("%d, %v, %q, %v", is, kept, why, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc")); err == nil {
		t.Error("it was written down")
	}
}

package docker

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"
)

// numbers are the kernel's, from its own header.
func numbers() map[string]int {
	return map[string]int{
		"CHOWN": unix.CAP_CHOWN, "DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH,
		"FOWNER": unix.CAP_FOWNER, "FSETID": unix.CAP_FSETID, "KILL": unix.CAP_KILL, "SETGID": unix.CAP_SETGID,
		"SETUID": unix.CAP_SETUID, "SETPCAP": unix.CAP_SETPCAP, "LINUX_IMMUTABLE": unix.CAP_LINUX_IMMUTABLE,
		"NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "NET_BROADCAST": unix.CAP_NET_BROADCAST, "NET_ADMIN": unix.CAP_NET_ADMIN,
		"NET_RAW": unix.CAP_NET_RAW, "IPC_LOCK": unix.CAP_IPC_LOCK, "IPC_OWNER": unix.CAP_IPC_OWNER,
		"SYS_MODULE": unix.CAP_SYS_MODULE, "SYS_RAWIO": unix.CAP_SYS_RAWIO, "SYS_CHROOT": unix.CAP_SYS_CHROOT,
		"SYS_PTRACE": unix.CAP_SYS_PTRACE, "SYS_PACCT": unix.CAP_SYS_PACCT, "SYS_ADMIN": unix.CAP_SYS_ADMIN,
		"SYS_BOOT": unix.CAP_SYS_BOOT, "SYS_NICE": unix.CAP_SYS_NICE, "SYS_RESOURCE": unix.CAP_SYS_RESOURCE,
		"SYS_TIME": unix.CAP_SYS_TIME, "SYS_TTY_CONFIG": unix.CAP_SYS_TTY_CONFIG, "MKNOD": unix.CAP_MKNOD, "LEASE": unix.CAP_LEASE,
		"AUDIT_WRITE": unix.CAP_AUDIT_WRITE, "AUDIT_CONTROL": unix.CAP_AUDIT_CONTROL, "SETFCAP": unix.CAP_SETFCAP,
		"MAC_OVERRIDE": unix.CAP_MAC_OVERRIDE, "MAC_ADMIN": unix.CAP_MAC_ADMIN, "SYSLOG": unix.CAP_SYSLOG,
		"WAKE_ALARM": unix.CAP_WAKE_ALARM, "BLOCK_SUSPEND": unix.CAP_BLOCK_SUSPEND, "AUDIT_READ": unix.CAP_AUDIT_READ,
		"PERFMON": unix.CAP_PERFMON, "BPF": unix.CAP_BPF, "CHECKPOINT_RESTORE": unix.CAP_CHECKPOINT_RESTORE,
	}
}

func TestCapabilityNamesAreInTheKernelsOrder(t *testing.T) {
	names := capabilityNames()
	if len(names) != unix.CAP_LAST_CAP+1 {
		t.Errorf("%d names, and the kernel has %d", len(names), unix.CAP_LAST_CAP+1)
	}
	for n, name := range names {
		if number, ok := numbers()[name]; !ok || number != n {
			t.Errorf("%s is %d, not %d", name, number, n)
		}
	}
}

func TestLackingIsWhatThisMachineDoesNotGive(t *testing.T) {
	status, err := os.ReadFile("/proc/1/status")
	if err != nil {
		t.Fatal(err)
	}
	mask := regexp.MustCompile(`(?m)^CapBnd:\s*([0-9a-f]+)$`).FindSubmatch(status)
	given, err := strconv.ParseUint(string(mask[1]), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for name, n := range numbers() {
		if given>>n == 0 { // neither this nor a higher one: this kernel does not know it
			continue
		}
		if given>>n&1 == 0 {
			want = append(want, name)
		}
	}
	if len(want) == 0 { // it gives all: those that refuse a privileged container lack this one
		want = []string{"SYS_RESOURCE"}
	}
	got := lacking()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

func TestAllCapabilitiesIsAllButPrivileged(t *testing.T) {
	for version, wantHost := range map[string]bool{"1": true, "2": false} {
		host := container.HostConfig{Binds: []string{"/lib/modules:/lib/modules:ro"}}
		allCapabilities(&host, version)
		if host.Privileged || !slices.Equal(host.CapAdd, []string{"ALL"}) || !slices.Equal(host.CapDrop, lacking()) {
			t.Errorf("cgroup v%s: %+v", version, host)
		}
		for _, o := range []string{"seccomp=unconfined", "apparmor=unconfined"} {
			if !slices.Contains(host.SecurityOpt, o) {
				t.Errorf("cgroup v%s: no %s", version, o)
			}
		}
		// nil would be the engine's own lists.
		if host.MaskedPaths == nil || host.ReadonlyPaths == nil || len(host.MaskedPaths)+len(host.ReadonlyPaths) > 0 || len(host.DeviceCgroupRules) != 1 {
			t.Errorf("cgroup v%s: %+v", version, host)
		}
		if got := host.CgroupnsMode.IsHost(); got != wantHost {
			t.Errorf("cgroup v%s: the host's own namespace: %t", version, got)
		}
		if got := slices.Contains(host.Binds, "/sys/fs/cgroup:/sys/fs/cgroup:rw"); got != wantHost || host.Binds[0] != "/lib/modules:/lib/modules:ro" {
			t.Errorf("cgroup v%s: binds %v", version, host.Binds)
		}
	}
}

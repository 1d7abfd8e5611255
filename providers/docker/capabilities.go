package docker

import (
	"bufio"
	"context"
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
)

// mayBePrivileged tries it: a privileged container needs every capability, and
// a machine that lacks one refuses it at the start.
func mayBePrivileged(ctx context.Context, docker *client.Client, env, image string) (bool, error) {
	made, err := docker.ContainerCreate(ctx,
		&container.Config{Image: image, Entrypoint: []string{"/bin/sh", "-c", ":"}, Labels: map[string]string{labelProbe: env}},
		&container.HostConfig{Privileged: true, NetworkMode: "none"}, nil, nil, "")
	if err != nil {
		return false, fmt.Errorf("try a privileged container: %w", err)
	}
	remove := container.RemoveOptions{Force: true, RemoveVolumes: true}
	defer func() { _ = docker.ContainerRemove(ctx, made.ID, remove) }()
	err = docker.ContainerStart(ctx, made.ID, container.StartOptions{})
	if err != nil && !capsRefused(err) {
		return false, fmt.Errorf("try a privileged container: %s", firstLine(err.Error()))
	}
	return err == nil, nil
}

// labelProbe marks the short-lived container above, so that one that a killed
// skep left is found and removed; it is no node.
const labelProbe = "skep.probe"

// removeProbes removes what a skep that was killed has left of its trying.
func removeProbes(ctx context.Context, docker *client.Client, env string) error {
	found, err := docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelProbe+"="+env))})
	if err != nil {
		return fmt.Errorf("list what is left of %s: %w", env, err)
	}
	for _, c := range found {
		if err := removeContainer(ctx, docker, c.ID); err != nil {
			return err
		}
	}
	return nil
}

func capsRefused(err error) bool {
	return strings.Contains(err.Error(), "unable to apply caps")
}

// allCapabilities gives a host configuration everything that privileged
// brings, but for the capabilities that this machine does not have.
func allCapabilities(host *container.HostConfig, cgroupVersion string) {
	host.CapAdd = []string{"ALL"}
	host.CapDrop = lacking()
	host.SecurityOpt = []string{"seccomp=unconfined", "apparmor=unconfined"}
	// What the CLI calls systempaths=unconfined.
	host.MaskedPaths, host.ReadonlyPaths = []string{}, []string{}
	host.DeviceCgroupRules = []string{"a *:* rwm"}
	if cgroupVersion == "1" {
		host.CgroupnsMode = container.CgroupnsModeHost
		host.Binds = append(host.Binds, "/sys/fs/cgroup:/sys/fs/cgroup:rw")
	}
}

// lacking reads which capabilities this machine does not give away. Where it
// cannot be read here (the engine is elsewhere, or this is no Linux) it is the
// one that small virtual machines withhold.
func lacking() []string {
	withheld := []string{"SYS_RESOURCE"}
	file, err := os.Open("/proc/1/status")
	if err != nil {
		return withheld
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		mask, is := strings.CutPrefix(lines.Text(), "CapBnd:")
		if !is {
			continue
		}
		given, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
		if err != nil {
			break
		}
		// Above the highest one are those that this kernel does not know.
		var found []string
		names := capabilityNames()
		for n, name := range names[:min(bits.Len64(given), len(names))] {
			if given&(1<<n) == 0 {
				found = append(found, name)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return withheld
}

// capabilityNames in the kernel's numbering (linux/capability.h).
func capabilityNames() []string {
	return []string{
		"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
		"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
		"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
		"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
		"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
		"CHECKPOINT_RESTORE",
	}
}

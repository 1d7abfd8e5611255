package hosts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/gofrs/flock"
)

// ensureNetwork finds or makes the network and returns its subnet, which is
// clear of what the docker driver takes and of what engines take themselves. Of
// processes that want the same one at once, one makes it: an engine would let
// each have its own.
func (m *Maker) ensureNetwork(ctx context.Context) (netip.Prefix, error) {
	turn := flock.New(filepath.Join(os.TempDir(), m.network()+".lock"))
	if _, err := turn.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return netip.Prefix{}, err
	}
	defer func() { _ = turn.Close() }()
	var refused error
	for n := range 256 {
		found, err := m.Docker.NetworkInspect(ctx, m.network(), network.InspectOptions{})
		if err == nil {
			return netip.ParsePrefix(found.IPAM.Config[0].Subnet)
		}
		if !errdefs.IsNotFound(err) {
			return netip.Prefix{}, err
		}
		_, refused = m.Docker.NetworkCreate(ctx, m.network(), network.CreateOptions{
			Driver: "bridge", Labels: m.labels(),
			IPAM: &network.IPAM{Config: []network.IPAMConfig{{
				Subnet: fmt.Sprintf("10.203.%d.0/24", n), Gateway: fmt.Sprintf("10.203.%d.1", n),
			}}},
		})
		if refused != nil && !errdefs.IsConflict(refused) && !strings.Contains(refused.Error(), "overlap") {
			break
		}
	}
	return netip.Prefix{}, fmt.Errorf("make network %s: %w", m.network(), refused)
}

// freeAddress is one that no host has, whether it runs or not.
func (m *Maker) freeAddress(ctx context.Context, subnet netip.Prefix) (string, error) {
	found, err := m.Docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", Label+"="+m.ID))})
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, c := range found {
		if e := c.NetworkSettings.Networks[m.network()]; e != nil && e.IPAMConfig != nil {
			taken[e.IPAMConfig.IPv4Address] = true
		}
	}
	for a := subnet.Addr().Next().Next(); subnet.Contains(a.Next()); a = a.Next() {
		if !taken[a.String()] {
			return a.String(), nil
		}
	}
	return "", errors.New("network " + m.network() + " is full")
}

// hostConfig gives a container everything that privileged would, but for what
// this computer does not give away (see providers/docker/capabilities.go).
func (m *Maker) hostConfig(ctx context.Context) (*container.HostConfig, error) {
	info, err := m.Docker.Info(ctx)
	if err != nil {
		return nil, err
	}
	host := &container.HostConfig{
		NetworkMode: container.NetworkMode(m.network()),
		Tmpfs:       map[string]string{"/run": "mode=755"},
		Binds:       []string{"/lib/modules:/lib/modules:ro"},
		CapAdd:      []string{"ALL"},
		SecurityOpt: []string{"seccomp=unconfined", "apparmor=unconfined"},
		MaskedPaths: []string{}, ReadonlyPaths: []string{},
	}
	host.DeviceCgroupRules = []string{"a *:* rwm"}
	if withheld() {
		host.CapDrop = []string{"SYS_RESOURCE"}
	}
	if info.CgroupVersion == "1" {
		host.CgroupnsMode = container.CgroupnsModeHost
		host.Binds = append(host.Binds, "/sys/fs/cgroup:/sys/fs/cgroup:rw")
	}
	return host, nil
}

// sysResource is the number of the capability that small virtual machines
// withhold (linux/capability.h).
const sysResource = 24

// withheld says whether this computer does not give SYS_RESOURCE away.
func withheld() bool {
	file, err := os.Open("/proc/1/status")
	if err != nil {
		return true
	}
	defer func() { _ = file.Close() }()
	var masks []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if mask, is := strings.CutPrefix(lines.Text(), "CapBnd:"); is {
			masks = append(masks, strings.TrimSpace(mask))
		}
	}
	return !slices.ContainsFunc(masks, func(mask string) bool {
		given, err := strconv.ParseUint(mask, 16, 64)
		return err == nil && bits.Len64(given) > sysResource && given&(1<<sysResource) != 0
	})
}

package compose

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-units"
)

// honoured are the keys of a service that become a part of its spec, or that
// say nothing to a swarm and may be there.
const honoured = " annotations attach cap_add cap_drop command configs container_name depends_on deploy dns dns_opt dns_search" +
	" entrypoint environment env_file expose extra_hosts healthcheck hostname image init isolation label_file labels logging" +
	" networks platform ports profiles pull_policy read_only restart secrets stdin_open stop_grace_period stop_signal sysctls" +
	" tmpfs tty ulimits user volumes working_dir mem_limit mem_reservation cpus scale pids_limit "

// instead says what to do about some of the keys that are not honoured.
func instead(key string) string {
	switch key {
	case "build":
		return "a swarm builds nothing: build and name the image first (`skep app build`, or docker build), then remove build"
	case "network_mode":
		return "tasks of a swarm are on overlay networks: use networks"
	case "privileged", "devices", "gpus":
		return "swarm gives tasks no devices or privileges"
	case "links", "external_links":
		return "services of a network find each other by name"
	case "volumes_from":
		return "name the volumes in each service"
	}
	return "a swarm has nothing like it"
}

// refuse tells of the first key that the swarm would not honour.
func refuse(s types.ServiceConfig) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(text, &keys); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if string(keys[key]) != "null" && !strings.Contains(honoured, " "+key+" ") {
			return fmt.Errorf("%s is not for a swarm: %s", key, instead(key))
		}
	}
	if s.Image == "" {
		return errors.New("it names no image")
	}
	return refuseWithin(s)
}

// refuseWithin tells of the first thing below a key that is honoured that a swarm
// would pass by.
func refuseWithin(s types.ServiceConfig) error {
	for name, n := range s.Networks {
		if n != nil && (n.Ipv4Address != "" || n.Ipv6Address != "" || n.MacAddress != "" || len(n.LinkLocalIPs) > 0 || n.InterfaceName != "") {
			return fmt.Errorf("network %s: addresses and interfaces of tasks are left to the swarm", name)
		}
	}
	for _, v := range s.Volumes {
		if v.Volume != nil && v.Volume.Subpath != "" {
			return fmt.Errorf("volume %s: subpath is not for a swarm: mount the volume and name the folder below it", v.Source)
		}
	}
	return nil
}

func (b *builder) service(s types.ServiceConfig) (api.ServiceSpec, error) {
	if err := refuse(s); err != nil {
		return api.ServiceSpec{}, err
	}
	c, err := b.container(s)
	if err != nil {
		return api.ServiceSpec{}, err
	}
	d := types.DeployConfig{}
	if s.Deploy != nil {
		d = *s.Deploy
	}
	spec := api.ServiceSpec{
		Annotations: api.Annotations{Name: b.scoped(s.Name), Labels: b.labels(d.Labels)},
		TaskTemplate: api.TaskSpec{
			ContainerSpec: c,
			Networks:      b.attachments(s),
			RestartPolicy: restart(s, d.RestartPolicy),
			Placement:     placement(d.Placement),
		},
		EndpointSpec: &api.EndpointSpec{Mode: api.ResolutionMode(cmp.Or(d.EndpointMode, string(api.ResolutionModeVIP)))},
	}
	if s.Logging != nil {
		spec.TaskTemplate.LogDriver = &api.Driver{Name: s.Logging.Driver, Options: s.Logging.Options}
	}
	if spec.TaskTemplate.Resources, err = resources(s, d); err != nil {
		return spec, err
	}
	if spec.Mode, err = mode(s, d); err != nil {
		return spec, err
	}
	spec.UpdateConfig, spec.RollbackConfig = updates(s, d)
	spec.EndpointSpec.Ports, err = published(s)
	return spec, err
}

func (b *builder) container(s types.ServiceConfig) (*api.ContainerSpec, error) {
	c := &api.ContainerSpec{
		Image: s.Image, Command: s.Entrypoint, Args: s.Command, Env: sortedCopy(s.Environment), Labels: b.labels(s.Labels),
		Hostname: s.Hostname, Dir: s.WorkingDir, User: s.User, TTY: s.Tty, OpenStdin: s.StdinOpen, ReadOnly: s.ReadOnly,
		StopSignal: s.StopSignal, Init: s.Init, Sysctls: s.Sysctls, CapabilityAdd: s.CapAdd, CapabilityDrop: s.CapDrop,
		Isolation: container.Isolation(s.Isolation),
	}
	if s.StopGracePeriod != nil {
		grace := time.Duration(*s.StopGracePeriod)
		c.StopGracePeriod = &grace
	}
	for _, host := range slices.Sorted(maps.Keys(s.ExtraHosts)) {
		for _, address := range s.ExtraHosts[host] {
			c.Hosts = append(c.Hosts, address+" "+host)
		}
	}
	if len(s.DNS)+len(s.DNSOpts)+len(s.DNSSearch) > 0 {
		c.DNSConfig = &api.DNSConfig{Nameservers: s.DNS, Search: s.DNSSearch, Options: s.DNSOpts}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Ulimits)) {
		u := s.Ulimits[name]
		c.Ulimits = append(c.Ulimits, &container.Ulimit{Name: name, Soft: int64(cmp.Or(u.Soft, u.Single)), Hard: int64(cmp.Or(u.Hard, u.Single))})
	}
	c.Healthcheck = health(s.HealthCheck)
	b.references(s, c)
	var err error
	c.Mounts, err = b.mounts(s)
	return c, err
}

func health(h *types.HealthCheckConfig) *container.HealthConfig {
	if h == nil {
		return nil
	}
	if h.Disable {
		return &container.HealthConfig{Test: []string{"NONE"}}
	}
	c := &container.HealthConfig{Test: h.Test}
	for to, from := range map[*time.Duration]*types.Duration{&c.Interval: h.Interval, &c.Timeout: h.Timeout, &c.StartPeriod: h.StartPeriod, &c.StartInterval: h.StartInterval} {
		if from != nil {
			*to = time.Duration(*from)
		}
	}
	if h.Retries != nil {
		c.Retries = int(*h.Retries) // #nosec G115 -- a number of tries
	}
	return c
}

// mounts are the volumes of the swarm's nodes that a service uses. A folder of
// this computer is on none of them.
func (b *builder) mounts(s types.ServiceConfig) ([]mount.Mount, error) {
	var all []mount.Mount
	for _, v := range s.Volumes {
		m := mount.Mount{Type: mount.Type(v.Type), Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
		switch v.Type {
		case types.VolumeTypeVolume:
			m.VolumeOptions = &mount.VolumeOptions{Labels: b.labels()}
			if named, ok := b.project.Volumes[v.Source]; ok {
				m.Source = named.Name
				m.VolumeOptions.Labels = b.labels(named.Labels)
				if named.Driver != "" || len(named.DriverOpts) > 0 {
					m.VolumeOptions.DriverConfig = &mount.Driver{Name: cmp.Or(named.Driver, "local"), Options: named.DriverOpts}
				}
				if named.External {
					m.VolumeOptions = nil
				}
			}
			if v.Volume != nil && v.Volume.NoCopy && m.VolumeOptions != nil {
				m.VolumeOptions.NoCopy = true
			}
		case types.VolumeTypeBind:
			if b.here[v.Source] {
				return nil, fmt.Errorf("%s is a folder of this computer, which the nodes do not have: use a config, a volume, or an absolute path that is on every node", v.Source)
			}
			if v.Bind != nil && v.Bind.Propagation != "" {
				m.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(v.Bind.Propagation)}
			}
		case types.VolumeTypeTmpfs:
			if v.Tmpfs != nil {
				m.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: int64(v.Tmpfs.Size), Mode: os.FileMode(v.Tmpfs.Mode)}
			}
		default:
			return nil, fmt.Errorf("volumes of type %s are not for a swarm", v.Type)
		}
		all = append(all, m)
	}
	for _, t := range s.Tmpfs {
		m, err := tmpfs(t)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// tmpfs reads PLACE[:size=SIZE,mode=MODE].
func tmpfs(text string) (mount.Mount, error) {
	place, options, _ := strings.Cut(text, ":")
	m := mount.Mount{Type: mount.TypeTmpfs, Target: place}
	if options == "" {
		return m, nil
	}
	o := &mount.TmpfsOptions{}
	for option := range strings.SplitSeq(options, ",") {
		var err error
		switch key, value, _ := strings.Cut(option, "="); key {
		case "size":
			o.SizeBytes, err = units.RAMInBytes(value)
		case "mode":
			var mode uint64
			mode, err = strconv.ParseUint(value, 8, 12)
			o.Mode = os.FileMode(mode)
		default:
			err = errors.New("a swarm takes size and mode")
		}
		if err != nil {
			return m, fmt.Errorf("tmpfs %s: %s: %w", place, option, err)
		}
	}
	m.TmpfsOptions = o
	return m, nil
}

// attachments are the networks of a service, where others find it by its name
// in the file.
func (b *builder) attachments(s types.ServiceConfig) []api.NetworkAttachmentConfig {
	var all []api.NetworkAttachmentConfig
	for _, name := range slices.Sorted(maps.Keys(s.Networks)) {
		aliases := []string{s.Name}
		if n := s.Networks[name]; n != nil {
			aliases = append(aliases, n.Aliases...)
		}
		to := api.NetworkAttachmentConfig{Target: b.project.Networks[name].Name, Aliases: aliases}
		if n := s.Networks[name]; n != nil {
			to.DriverOpts = n.DriverOpts
		}
		all = append(all, to)
	}
	return all
}

func published(s types.ServiceConfig) ([]api.PortConfig, error) {
	var all []api.PortConfig
	for _, p := range s.Ports {
		if p.HostIP != "" {
			return nil, fmt.Errorf("port %s: a swarm publishes on all addresses of its nodes, not on %s", p.Published, p.HostIP)
		}
		c := api.PortConfig{Protocol: api.PortConfigProtocol(p.Protocol), TargetPort: p.Target, PublishMode: api.PortConfigPublishModeIngress}
		if p.Mode == "host" {
			c.PublishMode = api.PortConfigPublishModeHost
		}
		if p.Published != "" {
			n, err := strconv.ParseUint(p.Published, 10, 16)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("%q is not a port: use 1 to 65535", p.Published)
			}
			c.PublishedPort = uint32(n)
		}
		all = append(all, c)
	}
	return all, nil
}

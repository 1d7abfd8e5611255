package services

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"

	"skep/usage"

	"github.com/docker/docker/api/types/mount"
	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-units"
)

// Port is one that the nodes answer on.
type Port struct {
	Published, Target int
	Protocol          string // tcp or udp; "" is tcp
}

// ParsePort reads [PUBLISHED:]TARGET[/tcp|/udp].
func ParsePort(text string) (Port, error) {
	numbers, protocol, named := strings.Cut(text, "/")
	if named && protocol != "tcp" && protocol != "udp" {
		return Port{}, usage.Errorf("%q is not a port: the protocol is tcp or udp", text)
	}
	published, target, both := strings.Cut(numbers, ":")
	if !both {
		target = published
	}
	p := Port{}
	if named && protocol == "udp" {
		p.Protocol = protocol
	}
	var errs [2]error
	p.Published, errs[0] = strconv.Atoi(published)
	p.Target, errs[1] = strconv.Atoi(target)
	if errs[0] != nil || errs[1] != nil {
		return Port{}, usage.Errorf("%q is not a port: use PORT or PUBLISHED:PORT, from 1 to 65535", text)
	}
	return p, p.check()
}

func (p Port) check() error {
	if err := CheckPort(p.Published); err != nil {
		return err
	}
	return CheckPort(p.Target)
}

// CheckPort refuses what is no port.
func CheckPort(p int) error {
	if p < 1 || p > 65535 {
		return usage.Errorf("%d is not a port: use 1 to 65535", p)
	}
	return nil
}

func (p Port) config(mode api.PortConfigPublishMode) api.PortConfig {
	c := api.PortConfig{
		Protocol: api.PortConfigProtocolTCP, PublishMode: mode,
		TargetPort: uint32(p.Target), PublishedPort: uint32(p.Published), // #nosec G115 -- check keeps them below 65536
	}
	if p.Protocol == "udp" {
		c.Protocol = api.PortConfigProtocolUDP
	}
	return c
}

// Mount is a volume, or with an absolute source a folder of the node, in the
// container.
type Mount struct {
	Source, Target string
	ReadOnly       bool
}

// ParseMount reads SRC:DST[:ro].
func ParseMount(text string) (Mount, error) {
	parts := strings.Split(text, ":")
	if len(parts) == 3 && (parts[2] == "ro" || parts[2] == "rw") {
		m, err := ParseMount(parts[0] + ":" + parts[1])
		m.ReadOnly = parts[2] == "ro"
		return m, err
	}
	if len(parts) != 2 || parts[0] == "" || !path.IsAbs(parts[1]) || path.Clean(parts[1]) == "/" {
		return Mount{}, usage.Errorf("%q is not a mount: use VOLUME:/PLACE or /FOLDER:/PLACE, with :ro where it is only read", text)
	}
	if !path.IsAbs(parts[0]) && strings.ContainsAny(parts[0], "/\\ ") {
		return Mount{}, usage.Errorf("%q is not a mount: %q is neither the name of a volume nor an absolute path on the nodes", text, parts[0])
	}
	return Mount{Source: parts[0], Target: path.Clean(parts[1])}, nil
}

func (m Mount) config(labels map[string]string) mount.Mount {
	c := mount.Mount{Type: mount.TypeVolume, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
	if path.IsAbs(m.Source) {
		c.Type = mount.TypeBind
	} else {
		c.VolumeOptions = &mount.VolumeOptions{Labels: labels}
	}
	return c
}

// Secret is one of the swarm's, as the container sees it in /run/secrets.
type Secret struct{ Name, File string }

// ParseSecret reads NAME[:FILE].
func ParseSecret(text string) (Secret, error) {
	name, file, renamed := strings.Cut(text, ":")
	if !renamed {
		file = name
	}
	if name == "" || file == "" || strings.ContainsAny(name, "/ ") {
		return Secret{}, usage.Errorf("%q is not a secret: use NAME or NAME:FILE", text)
	}
	return Secret{name, file}, nil
}

// reference names the secret; the executor adds its id.
func (s Secret) reference() *api.SecretReference {
	return &api.SecretReference{
		SecretName: s.Name, File: &api.SecretReferenceFileTarget{Name: s.File, UID: "0", GID: "0", Mode: 0o444},
	}
}

// Placement says where tasks go.
type Placement struct {
	Spread      []string // node labels whose values tasks are spread over
	Constraints []string // that a node has to meet
}

// ParsePlacement adds spread=LABEL or a constraint of Docker's, such as
// node.role==worker.
func (p *Placement) ParsePlacement(text string) error {
	switch label, spread := strings.CutPrefix(text, "spread="); {
	case spread && label == "region":
		p.Spread = append(p.Spread, "node.labels."+regionLabel)
	case spread && label != "" && !strings.ContainsAny(label, "=! "):
		if !strings.HasPrefix(label, "node.") && !strings.HasPrefix(label, "engine.") {
			label = "node.labels." + label
		}
		p.Spread = append(p.Spread, label)
	case !spread && (strings.HasPrefix(text, "node.") || strings.HasPrefix(text, "engine.")) && (strings.Contains(text, "==") || strings.Contains(text, "!=")):
		p.Constraints = append(p.Constraints, text)
	default:
		return usage.Errorf("%q is not a placement: use spread=region, spread=LABEL, or a constraint such as node.role==worker", text)
	}
	return nil
}

// regionLabel is on every node of an environment.
const regionLabel = "skep.region"

func (p Placement) config() *api.Placement {
	if len(p.Spread)+len(p.Constraints) == 0 {
		return nil
	}
	c := &api.Placement{Constraints: p.Constraints}
	for _, label := range p.Spread {
		c.Preferences = append(c.Preferences, api.PlacementPreference{Spread: &api.SpreadOver{SpreadDescriptor: label}})
	}
	return c
}

// ParseMemory reads a limit such as 256m or 1g.
func ParseMemory(text string) (int64, error) {
	n, err := units.RAMInBytes(text)
	if err != nil {
		return 0, usage.Errorf("%q is not an amount of memory: use a number with k, m or g", text)
	}
	if n < 6<<20 {
		return 0, usage.Errorf("%s of memory is too little: engines take 6m at least", text)
	}
	return n, nil
}

// ParseHealth makes a healthcheck of a command, or of a URL that is asked
// inside the container. probe is the image's own program for that, or "".
func ParseHealth(text, probe string) ([]string, error) {
	if !strings.HasPrefix(text, "http://") && !strings.HasPrefix(text, "https://") {
		if strings.TrimSpace(text) == "" {
			return nil, usage.Errorf("the healthcheck is empty: use a command or a URL")
		}
		return []string{"CMD-SHELL", text}, nil
	}
	where, err := url.Parse(text)
	if err != nil || strings.ContainsAny(text, "' \t\n") {
		return nil, usage.Errorf("%q is not a URL", text)
	}
	if where.Hostname() == "" {
		port := where.Port()
		where.Host = "127.0.0.1"
		if port != "" {
			where.Host += ":" + port
		}
	}
	if probe != "" {
		if where.Scheme != "http" {
			return nil, usage.Errorf("%s: the probe of an image that skep built speaks no TLS: give it an http:// URL", text)
		}
		return []string{"CMD", probe, where.String()}, nil
	}
	return []string{"CMD-SHELL", fmt.Sprintf("wget -q -O /dev/null '%[1]s' || curl -fsS -o /dev/null '%[1]s'", where)}, nil
}

// ReadEnvFile reads variables, NAME=VALUE a line. A name alone takes its value
// from this process; lines that are empty or begin with # are left out.
func ReadEnvFile(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var all []string
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimLeft(strings.TrimPrefix(lines.Text(), "\ufeff"), " \t")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, _, assigned := strings.Cut(line, "=")
		if name == "" || strings.ContainsAny(name, " \t") {
			return nil, usage.Errorf("%s, line %d: %q is not a variable: use NAME=VALUE", file, n, line)
		}
		if !assigned {
			value, set := os.LookupEnv(name)
			if !set {
				continue
			}
			line = name + "=" + value
		}
		all = append(all, line)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return all, nil
}

// MergeEnv is the variables of both, the later ones winning, in the order in
// which their names first appear.
func MergeEnv(first, then []string) []string {
	at := map[string]int{}
	var all []string
	for _, v := range append(append([]string{}, first...), then...) {
		name, _, _ := strings.Cut(v, "=")
		if i, known := at[name]; known {
			all[i] = v
			continue
		}
		at[name] = len(all)
		all = append(all, v)
	}
	return all
}

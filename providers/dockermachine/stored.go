package dockermachine

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"skep/providers"
	"skep/tunnel"
)

// Engine labels that a machine is made with. Machines that others made have none.
const (
	labelBatch  = "skep.batch"
	labelRegion = "skep.region"
	labelSize   = "skep.size"
)

// stored is a machine's config.json, which is what `docker-machine inspect`
// prints (docker-machine 0.16).
type stored struct {
	DriverName string
	Driver     struct {
		IPAddress, PrivateIPAddress string
		SSHUser, SSHKeyPath         string
		SSHPort                     int
		Region, Zone                string
	}
	HostOptions struct {
		EngineOptions struct{ Labels []string }
	}

	name, folder string
	created      time.Time
}

// nodeName is how skep and the scripts before it name machines.
func nodeName() *regexp.Regexp {
	return regexp.MustCompile(`^([a-z][a-z0-9-]{0,30})-(manager|worker)-([1-9][0-9]*)$`)
}

// storage is docker-machine's folder.
func storage() (string, error) {
	if path := os.Getenv("MACHINE_STORAGE_PATH"); path != "" {
		return path, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find docker-machine's folder: %w", err)
	}
	return filepath.Join(home, ".docker", "machine"), nil
}

// folders reads the machines of an environment, or of all for "".
func folders(env string) ([]stored, error) {
	root, err := storage()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(root, "machines"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read docker-machine's folder: %w", err)
	}
	var all []stored
	form := nodeName()
	for _, e := range entries {
		parts := form.FindStringSubmatch(e.Name())
		if parts == nil || env != "" && parts[1] != env {
			continue
		}
		s, err := read(filepath.Join(root, "machines", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed just now, or not even begun
		}
		if err != nil {
			return nil, fmt.Errorf("read docker-machine's machine %s: %w", e.Name(), err)
		}
		all = append(all, s)
	}
	return all, nil
}

func read(folder string) (stored, error) {
	s := stored{name: filepath.Base(folder), folder: folder}
	text, err := os.ReadFile(filepath.Join(folder, "config.json"))
	if err != nil {
		return s, err
	}
	for _, file := range []string{"config.json", "id_rsa"} { // the key is written once, if there is one
		if info, err := os.Stat(filepath.Join(folder, file)); err == nil {
			s.created = info.ModTime().UTC()
		}
	}
	return s, json.Unmarshal(text, &s)
}

func (s stored) label(name string) string {
	for _, l := range s.HostOptions.EngineOptions.Labels {
		if value, ok := strings.CutPrefix(l, name+"="); ok {
			return value
		}
	}
	return ""
}

// machine is what the folder tells of a machine.
func (d *Driver) machine(s stored) providers.Machine {
	parts := nodeName().FindStringSubmatch(s.name)
	m := providers.Machine{
		Env: parts[1], Name: s.name, Role: providers.Role(parts[2]), Driver: s.DriverName,
		Region: cmp.Or(s.label(labelRegion), s.Driver.Region, s.Driver.Zone), Size: s.label(labelSize),
		Address: s.Driver.IPAddress, PrivateAddress: s.Driver.PrivateIPAddress,
		Local: local(s.DriverName), Created: s.created,
	}
	if slices.Contains(d.Own, s.DriverName) {
		m.Driver = Name + ":" + s.DriverName
	}
	if batch := s.label(labelBatch); batch != "" {
		m.Batch = strings.Split(batch, "+")
	}
	port := s.Driver.SSHPort
	if m.Local { // its port is one of this computer's; its own sshd is nearer
		port = 22
		m.PrivateAddress = m.Address
	}
	m.SSH = tunnel.Endpoint{
		Name: s.name, Address: net.JoinHostPort(m.Address, strconv.Itoa(cmp.Or(port, 22))), User: cmp.Or(s.Driver.SSHUser, "root"),
		KeyFile: cmp.Or(s.Driver.SSHKeyPath, filepath.Join(s.folder, "id_rsa")), TrustFirst: true,
	}
	return m
}

// local says whether machines of a driver are on this computer, where no other
// reaches them.
func local(driver string) bool {
	return slices.Contains([]string{"virtualbox", "hyperkit", "hyperv", "kvm", "kvm2", "parallels", "qemu", "vmware", "vmwarefusion", "vmwareworkstation", "xhyve"}, driver)
}

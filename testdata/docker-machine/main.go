// docker-machine stands in for the program of that name (0.16) in tests: it
// takes the commands that skep gives, prints what the real one is documented to
// print, and keeps its machines in the same folder and form. The machines are
// hosts of package hosts.
//
// MACHINE_TEST_CLOUD names the maker of hosts, MACHINE_TEST_IMAGE their image.
// Where MACHINE_TEST_BROKEN is set, the provider answers nothing but errors.
package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"skep/testdata/cloud/hosts"

	"github.com/containerd/errdefs"
	"github.com/gofrs/flock"
	"golang.org/x/crypto/ssh"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return says("Usage: docker-machine COMMAND [arg...]")
	}
	maker, err := hosts.Open(os.Getenv("MACHINE_TEST_CLOUD"), os.Getenv("MACHINE_TEST_IMAGE"))
	if err != nil {
		return err
	}
	root := os.Getenv("MACHINE_STORAGE_PATH")
	if root == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return err
		}
		root = filepath.Join(home, ".docker", "machine")
	}
	s := shim{maker: maker, machines: filepath.Join(root, "machines")}
	switch args[0] {
	case "create":
		return s.create(ctx, args[1:])
	case "ls":
		return s.list(ctx, args[1:])
	case "status", "ip", "inspect", "start", "stop", "rm":
		var names []string
		for _, a := range args[1:] {
			if !strings.HasPrefix(a, "-") {
				names = append(names, a)
			} else if args[0] != "rm" || a != "-y" && a != "-f" {
				return says("Incorrect Usage. flag provided but not defined: %s", a)
			}
		}
		for _, name := range names {
			if err := s.one(ctx, args[0], name); err != nil {
				return err
			}
		}
		return nil
	}
	return says("docker-machine: '%s' is not a docker-machine command. See 'docker-machine --help'.", args[0])
}

// said is an error in the real one's words.
type said string

func (s said) Error() string { return string(s) }

func says(format string, args ...any) error { return said(fmt.Sprintf(format, args...)) }

type shim struct {
	maker    *hosts.Maker
	machines string
}

// machine is its config.json.
type machine struct {
	ConfigVersion int
	Driver        struct {
		IPAddress, MachineName, SSHUser string
		SSHPort                         int
		SSHKeyPath, StorePath, Zone     string
	}
	DriverName  string
	HostOptions struct {
		EngineOptions struct{ Labels []string }
	}
	Name string
}

func (s shim) file(name string) string { return filepath.Join(s.machines, name, "config.json") }

func (s shim) read(name string) (machine, error) {
	var m machine
	text, err := os.ReadFile(s.file(name))
	if err != nil {
		return m, says("Docker machine %q does not exist. Use \"docker-machine ls\" to list machines. Use \"docker-machine create\" to add a new one.", name)
	}
	return m, json.Unmarshal(text, &m)
}

func (s shim) write(m machine) error {
	text, err := json.MarshalIndent(m, "", "    ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.file(m.Name), text, 0o600)
}

// flags of two drivers, as their help has them.
func flags(driver string) []string {
	switch driver {
	case "google":
		return []string{"google-machine-image", "google-machine-type", "google-preemptible", "google-project", "google-zone", "engine-label"}
	case "virtualbox":
		return []string{"virtualbox-boot2docker-url", "virtualbox-cpu-count", "virtualbox-memory", "virtualbox-no-share", "engine-label"}
	}
	return nil
}

func (s shim) create(ctx context.Context, args []string) error {
	var m machine
	var given []string
	help := false
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--driver" || args[i] == "-d":
			i++
			m.DriverName = args[i]
		case args[i] == "--help":
			help = true
		case strings.HasPrefix(args[i], "--"):
			given = append(given, strings.TrimPrefix(args[i], "--"))
		default:
			m.Name = args[i]
		}
	}
	known := flags(m.DriverName)
	if known == nil {
		return says("Driver %q not found. Do you have the plugin binary \"docker-machine-driver-%s\" accessible in your PATH?", m.DriverName, m.DriverName)
	}
	if help {
		fmt.Println("Usage: docker-machine create [OPTIONS] [arg...]\n\nOptions:")
		for _, flag := range known {
			fmt.Printf("   --%s %s\n", flag, strings.ToUpper(flag))
		}
		return nil
	}
	for _, g := range given {
		flag, value, _ := strings.Cut(g, "=")
		switch {
		case !slices.Contains(known, flag):
			return says("Incorrect Usage. flag provided but not defined: -%s", flag)
		case flag == "engine-label":
			m.HostOptions.EngineOptions.Labels = append(m.HostOptions.EngineOptions.Labels, value)
		case flag == "google-zone":
			m.Driver.Zone = value
		case flag == "google-machine-type" && value == "too-large":
			return says("Error creating machine: Error in driver during machine creation: googleapi: Error 400: Invalid value for field 'resource.machineType': '%s', invalid", value)
		}
	}
	if os.Getenv("MACHINE_TEST_BROKEN") != "" {
		return says("Error with pre-create check: \"Check that the project exists: googleapi: Error 401: Invalid Credentials, authError\"")
	}
	if m.DriverName == "virtualbox" {
		// Two at once would make the host-only network twice.
		alone := filepath.Join(s.machines, "..", "virtualbox.lock")
		if err := os.MkdirAll(s.machines, 0o700); err != nil {
			return err
		}
		if err := os.Mkdir(alone, 0o700); err != nil {
			return says("Error creating machine: Error setting up host only network on machine start: VBoxManage: error: The object is not ready")
		}
		defer func() { _ = os.Remove(alone) }()
	}
	return s.make(ctx, m)
}

func (s shim) make(ctx context.Context, m machine) error {
	if _, err := os.Stat(filepath.Join(s.machines, m.Name)); err == nil {
		return says("Docker machine %q already exists", m.Name)
	}
	folder := filepath.Join(s.machines, m.Name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	m.ConfigVersion = 3
	m.Driver.MachineName, m.Driver.SSHUser, m.Driver.SSHPort = m.Name, "root", 22
	m.Driver.SSHKeyPath = filepath.Join(folder, "id_rsa")
	if err := s.write(m); err != nil { // before it is made
		return err
	}
	public, err := makeKey(m.Driver.SSHKeyPath)
	if err != nil {
		return err
	}
	// Two that make the first host of all would make its network twice.
	turn := flock.New(filepath.Join(s.machines, "..", "network.lock"))
	if err := turn.Lock(); err != nil {
		return err
	}
	m.Driver.IPAddress, err = s.maker.Make(ctx, hosts.Host{Name: m.Name, PublicKey: public})
	_ = turn.Close()
	if err != nil {
		return says("Error creating machine: Error in driver during machine creation: %v", err)
	}
	if err := s.write(m); err != nil {
		return err
	}
	return awaitSSH(ctx, m.Driver.IPAddress)
}

// awaitSSH is what provisioning comes to.
func awaitSSH(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(address, "22"))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return says("Error creating machine: Error waiting for SSH: %v", err)
		case <-tick.C:
		}
	}
}

func makeKey(path string) (public string, err error) {
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", err
	}
	line := string(ssh.MarshalAuthorizedKey(key))
	return line, os.WriteFile(path+".pub", []byte(line), 0o600)
}

func (s shim) one(ctx context.Context, verb, name string) error {
	m, err := s.read(name)
	if err != nil {
		return err
	}
	if os.Getenv("MACHINE_TEST_BROKEN") != "" && verb != "inspect" {
		return errors.New("googleapi: Error 401: Invalid Credentials, authError")
	}
	switch verb {
	case "status":
		state, err := s.state(ctx, name)
		if err == nil {
			fmt.Println(state)
		}
		return err
	case "ip":
		if state, err := s.state(ctx, name); err != nil || state != "Running" {
			return errors.Join(err, says("Host is not running"))
		}
		fmt.Println(m.Driver.IPAddress)
	case "inspect":
		text, err := os.ReadFile(s.file(name))
		fmt.Println(string(text))
		return err
	case "start":
		if err := s.maker.Start(ctx, name); err != nil {
			return err
		}
		return awaitSSH(ctx, m.Driver.IPAddress)
	case "stop":
		return s.maker.Stop(ctx, name)
	case "rm":
		if err := s.maker.Remove(ctx, name); err != nil {
			return err
		}
		fmt.Println("Successfully removed " + name)
		return os.RemoveAll(filepath.Join(s.machines, name))
	}
	return nil
}

func (s shim) state(ctx context.Context, name string) (string, error) {
	found, err := s.maker.Docker.ContainerInspect(ctx, s.maker.Container(name))
	switch {
	case errdefs.IsNotFound(err):
		return "Error", nil
	case err != nil:
		return "", err
	case found.State.Running:
		return "Running", nil
	}
	return "Stopped", nil
}

// list prints the table, or the names alone.
func (s shim) list(ctx context.Context, args []string) error {
	entries, err := os.ReadDir(s.machines)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	quiet := slices.Contains(args, "-q")
	if !quiet {
		fmt.Printf("%-20s%-9s%-13s%-10s%-27s%s\n", "NAME", "ACTIVE", "DRIVER", "STATE", "URL", "SWARM   DOCKER     ERRORS")
	}
	for _, e := range entries {
		if quiet {
			fmt.Println(e.Name())
			continue
		}
		m, err := s.read(e.Name())
		if err != nil {
			return err
		}
		state, err := s.state(ctx, m.Name)
		if err != nil {
			return err
		}
		fmt.Printf("%-20s%-9s%-13s%-10s%-27s%s\n", m.Name, "-", m.DriverName, state, "tcp://"+m.Driver.IPAddress+":2376", "        v20.10.24")
	}
	return nil
}

// Package hosts makes real hosts for tests: containers of the node image, each
// with an address of its own, an sshd and a dockerd, reached as root@ADDRESS:22
// from this computer. What a test cloud rents out, what the ssh driver is given
// and what a stand-in for docker-machine makes are all of this kind.
//
// It depends on the local engine alone and must not know what asks for hosts.
package hosts

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
)

// Label is on everything that a Maker makes, with the Maker's ID as its value.
const Label = "skep.cloud"

// Host is what is asked for.
type Host struct {
	Name      string            // its hostname
	ID        string            // tells hosts of one name apart; "" is the name
	PublicKey string            // lines of root's authorized_keys
	Files     map[string]string // more files by path, there before it boots, all executable
	Late      time.Duration     // how long it takes before anything in it starts
	Beside    string            // a command that runs beside the node's own first process, which clears /run
}

// Maker makes hosts on one network. Hosts of several makers do not reach each
// other.
type Maker struct {
	ID     string // its containers, network and volumes are named after it
	Image  string
	Docker *client.Client

	turn sync.Mutex // addresses are given one after another
}

// Open makes a Maker on the engine that the environment names. Two of one ID,
// in whatever process, share their network.
func Open(id, image string) (*Maker, error) {
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, err
	}
	return &Maker{ID: id, Image: image, Docker: docker}, nil
}

// Container is the name of a host's container.
func (m *Maker) Container(id string) string { return m.network() + "-" + id }

func (m *Maker) network() string { return "skep-cloud-" + m.ID }

func (m *Maker) labels() map[string]string { return map[string]string{Label: m.ID} }

// Make boots a host and returns its address, which it keeps for good. It does
// not wait for its sshd.
func (m *Maker) Make(ctx context.Context, h Host) (address string, err error) {
	if h.ID == "" {
		h.ID = h.Name
	}
	m.turn.Lock()
	defer m.turn.Unlock()
	subnet, err := m.ensureNetwork(ctx)
	if err != nil {
		return "", err
	}
	for range 20 {
		address, err := m.freeAddress(ctx, subnet)
		if err != nil {
			return "", err
		}
		err = m.boot(ctx, h, address)
		if err == nil {
			return address, nil
		}
		if removal := m.Remove(ctx, h.ID); removal != nil {
			return "", errors.Join(err, removal)
		}
		if !strings.Contains(err.Error(), "Address already in use") {
			return "", err
		}
	}
	return "", errors.New("other makers take every address first")
}

func (m *Maker) boot(ctx context.Context, h Host, address string) error {
	config, err := m.hostConfig(ctx)
	if err != nil {
		return err
	}
	name := m.Container(h.ID)
	config.Mounts = []mount.Mount{{
		Type: mount.TypeVolume, Source: name, Target: "/var/lib/docker",
		VolumeOptions: &mount.VolumeOptions{Labels: m.labels()},
	}}
	_, err = m.Docker.ContainerCreate(ctx,
		&container.Config{Image: m.Image, Hostname: h.Name, Labels: m.labels(), Entrypoint: entrypoint(h)},
		config,
		&network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			m.network(): {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: address}},
		}}, nil, name)
	if err != nil {
		return fmt.Errorf("make host %s: %w", h.Name, err)
	}
	files, err := archive(h)
	if err != nil {
		return err
	}
	if err := m.Docker.CopyToContainer(ctx, name, "/", files, container.CopyToContainerOptions{}); err != nil {
		return fmt.Errorf("give host %s its files: %w", h.Name, err)
	}
	if err := m.Docker.ContainerStart(ctx, name, container.StartOptions{}); err != nil {
		return fmt.Errorf("boot host %s: %w", h.Name, err)
	}
	return nil
}

// entrypoint is the node image's own, late or with something beside it.
func entrypoint(h Host) []string {
	script := "exec /usr/local/bin/skep-node"
	if h.Beside != "" {
		script = "(" + h.Beside + ") & " + script
	}
	if h.Late > 0 {
		script = fmt.Sprintf("sleep %.1f; ", h.Late.Seconds()) + script
	}
	return []string{"/bin/sh", "-c", script}
}

func archive(h Host) (io.Reader, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	write := func(name, content string, mode int64) error {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, "/"), Mode: mode, Size: int64(len(content))}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.WriteString(w, content)
		return err
	}
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "root/.ssh/", Mode: 0o700})
	if err == nil {
		err = write("root/.ssh/authorized_keys", strings.TrimSpace(h.PublicKey)+"\n", 0o600)
	}
	for name, content := range h.Files {
		if err == nil {
			err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(path.Dir(name), "/") + "/", Mode: 0o755})
		}
		if err == nil {
			err = write(name, content, 0o755)
		}
	}
	return &out, errors.Join(err, w.Close())
}

// Start boots a host that was stopped.
func (m *Maker) Start(ctx context.Context, id string) error {
	return m.Docker.ContainerStart(ctx, m.Container(id), container.StartOptions{})
}

// Stop ends a host as its power button would.
func (m *Maker) Stop(ctx context.Context, id string) error {
	seconds := 20
	return m.Docker.ContainerStop(ctx, m.Container(id), container.StopOptions{Timeout: &seconds})
}

// Remove removes a host; one that is gone already is no error.
func (m *Maker) Remove(ctx context.Context, id string) error {
	err := m.removeContainer(ctx, m.Container(id))
	if errdefs.IsNotFound(err) {
		err = nil
	}
	if err != nil {
		return err
	}
	if err := m.Docker.VolumeRemove(ctx, m.Container(id), true); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// removeContainer takes one that is being removed already for removed.
func (m *Maker) removeContainer(ctx context.Context, name string) error {
	err := m.Docker.ContainerRemove(ctx, name, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && strings.Contains(err.Error(), "already in progress") {
		gone, failed := m.Docker.ContainerWait(ctx, name, container.WaitConditionRemoved)
		select {
		case <-gone:
			return nil
		case err = <-failed:
		}
	}
	return err
}

// Close removes all hosts of the Maker and its network.
func (m *Maker) Close(ctx context.Context) error {
	mine := filters.NewArgs(filters.Arg("label", Label+"="+m.ID))
	found, err := m.Docker.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	if err != nil {
		return err
	}
	var errs []error
	var removing sync.WaitGroup
	var mu sync.Mutex
	for _, c := range found {
		removing.Go(func() {
			if err := m.removeContainer(ctx, c.ID); err != nil && !errdefs.IsNotFound(err) {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	removing.Wait()
	volumes, err := m.Docker.VolumeList(ctx, volume.ListOptions{Filters: mine})
	errs = append(errs, err)
	for _, v := range volumes.Volumes {
		if err := m.Docker.VolumeRemove(ctx, v.Name, true); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	networks, err := m.Docker.NetworkList(ctx, network.ListOptions{Filters: mine})
	errs = append(errs, err)
	for _, n := range networks { // by their ids: two may have the name
		if err := m.Docker.NetworkRemove(ctx, n.ID); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"skep/providers"
	"skep/tunnel"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/crypto/ssh"
)

const (
	authorizedKeys = "/root/.ssh/authorized_keys"
	hostKey        = "/etc/ssh/ssh_host_ed25519_key.pub"
	largestFile    = 1 << 20 // that is read out of a node
)

// Admit adds skep's key to those that the node lets in and reads the host key
// out of it, both through the engine. It waits for the node's first start to
// make the key.
func (d *Driver) Admit(ctx context.Context, m providers.Machine) (ssh.PublicKey, error) {
	docker, err := d.Engine()
	if err != nil {
		return nil, err
	}
	public, err := tunnel.EnsureKey(d.Key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("no host key after %s", bootTimeout))
	defer cancel()
	err = authorize(ctx, docker, m.Name, public)
	var key ssh.PublicKey
	if err == nil {
		key, err = awaitHostKey(ctx, docker, m.Name)
	}
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("wait for %s to boot: %w", m.Name, context.Cause(ctx))
	}
	return key, err
}

// authorize leaves the keys that others have put there.
func authorize(ctx context.Context, docker *client.Client, name, public string) error {
	keys, err := readFile(ctx, docker, name, authorizedKeys)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("read the authorized keys of %s: %s", name, firstLine(err.Error()))
	}
	if slices.Contains(strings.Split(keys, "\n"), public) {
		return nil
	}
	if keys != "" && !strings.HasSuffix(keys, "\n") {
		keys += "\n"
	}
	archive, err := tarFile(authorizedKeys, keys+public+"\n")
	if err != nil {
		return err
	}
	if err := docker.CopyToContainer(ctx, name, "/", archive, container.CopyToContainerOptions{}); err != nil {
		return fmt.Errorf("copy the public key to %s: %s", name, firstLine(err.Error()))
	}
	return nil
}

func awaitHostKey(ctx context.Context, docker *client.Client, name string) (ssh.PublicKey, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		line, err := readFile(ctx, docker, name, hostKey)
		if err == nil && strings.HasSuffix(line, "\n") {
			key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
			return key, err
		}
		if err := stillBooting(ctx, docker, name); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// tarFile is an archive of one private file and its folder.
func tarFile(name, content string) (io.Reader, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	dir := &tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(path.Dir(name), "/") + "/", Mode: 0o700}
	file := &tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: 0o600, Size: int64(len(content))}
	if err := errors.Join(w.WriteHeader(dir), w.WriteHeader(file)); err != nil {
		return nil, err
	}
	_, err := w.Write([]byte(content))
	return &out, errors.Join(err, w.Close())
}

func readFile(ctx context.Context, docker *client.Client, name, file string) (string, error) {
	stream, _, err := docker.CopyFromContainer(ctx, name, file)
	if err != nil {
		return "", err
	}
	defer func() { _ = stream.Close() }()
	archive := tar.NewReader(stream)
	if _, err := archive.Next(); err != nil {
		return "", err
	}
	content, err := io.ReadAll(io.LimitReader(archive, largestFile+1))
	if len(content) > largestFile {
		return "", fmt.Errorf("%s is larger than %d bytes", file, largestFile)
	}
	return string(content), err
}

// stillBooting fails with the node's own last words once it has given up.
func stillBooting(ctx context.Context, docker *client.Client, name string) error {
	c, err := docker.ContainerInspect(ctx, name)
	if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	if c.State.Running && c.RestartCount == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", name, providers.ErrBoot, lastWords(ctx, docker, name))
}

func lastWords(ctx context.Context, docker *client.Client, name string) string {
	logs, err := docker.ContainerLogs(ctx, name, container.LogsOptions{ShowStderr: true, ShowStdout: true, Tail: "1"})
	if err != nil {
		return err.Error()
	}
	defer func() { _ = logs.Close() }()
	var out bytes.Buffer
	_, _ = stdcopy.StdCopy(&out, &out, logs)
	if words := strings.TrimSpace(out.String()); words != "" {
		return words
	}
	return "it ended without a word"
}

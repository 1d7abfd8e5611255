package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/jsonmessage"
)

//go:embed node/Dockerfile node/entrypoint.sh node/sshd_config
var recipe embed.FS

func (d *Driver) imageOf(named string) string {
	if named != "" {
		return named
	}
	return "skep-node:" + d.Version
}

// ensureImage builds skep's own node image, or pulls one that the user named,
// where the engine does not have it.
func (d *Driver) ensureImage(ctx context.Context, named string) error {
	ref := d.imageOf(named)
	_, err := d.docker.ImageInspect(ctx, ref)
	switch {
	case err == nil:
		return nil
	case !errdefs.IsNotFound(err):
		return fmt.Errorf("look for node image %s: %s", ref, firstLine(err.Error()))
	case named != "":
		if err := pull(ctx, d.docker, ref); err != nil {
			return fmt.Errorf("node image %s is neither on the local engine nor to be pulled: %s", ref, firstLine(err.Error()))
		}
		return nil
	}
	if err := buildNode(ctx, d.docker, ref); err != nil {
		return fmt.Errorf("build node image %s: %s (without a registry within reach, make it with skep's providers/docker/node/debian.sh)", ref, firstLine(err.Error()))
	}
	return nil
}

func pull(ctx context.Context, docker *client.Client, ref string) error {
	stream, err := docker.ImagePull(ctx, ref, image.PullOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	return drain(stream)
}

// buildNode builds the embedded Dockerfile, which starts from an image that a
// registry has.
func buildNode(ctx context.Context, docker *client.Client, ref string) error {
	input, err := buildContext()
	if err != nil {
		return err
	}
	done, err := docker.ImageBuild(ctx, input, build.ImageBuildOptions{Tags: []string{ref}, Remove: true, ForceRemove: true})
	if err != nil {
		return err
	}
	defer func() { _ = done.Body.Close() }()
	return drain(done.Body)
}

func buildContext() (io.Reader, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range []string{"Dockerfile", "entrypoint.sh", "sshd_config"} {
		content, err := recipe.ReadFile("node/" + name)
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	return &out, w.Close()
}

// drain reads an engine's progress to its end and returns the error in it.
func drain(stream io.Reader) error {
	for messages := json.NewDecoder(stream); ; {
		var m jsonmessage.JSONMessage
		switch err := messages.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Error != nil:
			return m.Error
		}
	}
}

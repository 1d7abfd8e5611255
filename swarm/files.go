package swarm

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// ReadFile reads a file as a running container sees it.
func (e *Engine) ReadFile(ctx context.Context, containerID, path string) ([]byte, error) {
	made, err := e.ContainerExecCreate(ctx, containerID, container.ExecOptions{Cmd: []string{"cat", path}, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return nil, fmt.Errorf("read %s on %s: %s", path, e.Node(), brief(err))
	}
	stream, err := e.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return nil, fmt.Errorf("read %s on %s: %s", path, e.Node(), brief(err))
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, stream.Close)()
	var out, told bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &told, stream.Reader); err != nil {
		return nil, fmt.Errorf("read %s on %s: %w", path, e.Node(), err)
	}
	done, err := e.ContainerExecInspect(ctx, made.ID)
	if err != nil {
		return nil, fmt.Errorf("read %s on %s: %s", path, e.Node(), brief(err))
	}
	if done.ExitCode != 0 {
		return nil, fmt.Errorf("read %s on %s: %s", path, e.Node(), strings.TrimSpace(told.String()))
	}
	return out.Bytes(), nil
}

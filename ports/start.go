package ports

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	maxLog    = 1 << 20 // a longer log is begun anew
	tailBytes = 4 << 10
	tailLines = 10
)

// ensure returns when the environment's process answers, starting it if none
// is alive. Of concurrent callers one starts it and the others wait.
func (c Client) ensure(ctx context.Context, p process) error {
	if err := p.checkSocketPath(); err != nil {
		return err
	}
	if _, err := p.list(ctx); err == nil || !errors.Is(err, errAbsent) {
		return p.explain(ctx, err)
	}
	unlock, err := lock(ctx, p.startLock())
	if err != nil {
		return fmt.Errorf("start the tunnel process of %s: %w", p.env, err)
	}
	defer unlock()
	if _, err := p.list(ctx); err == nil || !errors.Is(err, errAbsent) {
		return p.explain(ctx, err)
	}
	if err := c.start(ctx, p); err != nil {
		return fmt.Errorf("start the tunnel process of %s: %w", p.env, err)
	}
	return nil
}

// explain adds what to do about a process that hangs.
func (p process) explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w\nskep tunnel close %s ends that process", err, p.env)
}

// start starts the process and waits until it answers. The caller holds the
// start lock.
func (c Client) start(ctx context.Context, p process) (err error) {
	alive, err := p.alive()
	if err != nil {
		return err
	}
	// One that is alive is ending, and the new one waits for that. What a dead
	// one left goes first: its pid must not pass for the new one's.
	if !alive {
		if err := p.sweep(); err != nil {
			return err
		}
	}
	log, err := openLog(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	child, ended, err := c.spawn(ctx, p, log)
	if err != nil {
		return err
	}
	c.Log.Debug("tunnel process started", "env", p.env, "pid", child.Pid)
	if err := p.waitReady(ctx, ended); err != nil {
		quit(child, ended)
		return fmt.Errorf("%w%s", err, tail(log, from))
	}
	return nil
}

// spawn runs the command detached from this process. The channel gets the way
// it ended; reading it also keeps a dead child from staying a zombie.
func (c Client) spawn(ctx context.Context, p process, log *os.File) (*os.Process, <-chan error, error) {
	if len(c.Command) == 0 {
		return nil, nil, errors.New("no command is known for it")
	}
	argv := append(c.Command[1:len(c.Command):len(c.Command)], p.env)
	// The process outlives the command that starts it, hence its context.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), c.Command[0], argv...) //nolint:gosec // skep itself
	cmd.Stdout, cmd.Stderr = log, log
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- cmd.Wait()
	}()
	return cmd.Process, ended, nil
}

// waitReady returns when the process answers, or with an error when it ended
// or ctx is done.
func (p process) waitReady(ctx context.Context, ended <-chan error) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if _, err := p.list(ctx); err == nil {
			return nil
		} else if !errors.Is(err, errAbsent) && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-ended:
			if err == nil {
				err = errors.New("exit status 0")
			}
			return fmt.Errorf("it ended: %w", err)
		case <-tick.C:
		}
	}
}

// quit ends a child that never came up: with a chance to clean up after
// itself, then without.
func quit(child *os.Process, ended <-chan error) {
	_ = terminate(child) // fails only on one that has ended
	late := time.NewTimer(terminateTimeout)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
		_ = child.Kill()
		<-ended
	}
}

func openLog(p process) (*os.File, error) {
	flags := os.O_RDWR | os.O_CREATE | os.O_APPEND
	if info, err := os.Stat(p.dir.TunnelLog(p.env)); err == nil && info.Size() > maxLog {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(p.dir.TunnelLog(p.env), flags, 0o600)
}

// tail is the last lines of a log, each on a line of its own, as far as they
// were written after offset from.
func tail(log *os.File, from int64) string {
	info, err := log.Stat()
	if err != nil {
		return ""
	}
	start := max(from, info.Size()-tailBytes)
	text := make([]byte, info.Size()-start)
	n, err := log.ReadAt(text, start)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	lines := strings.Split(string(bytes.TrimSpace(text[:n])), "\n")
	if lines[0] == "" {
		return ""
	}
	lines = lines[max(0, len(lines)-tailLines):]
	return "\n" + strings.Join(lines, "\n")
}

package sockets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"skep/home"
	"skep/tunnel"

	"github.com/gofrs/flock"
)

const (
	startTimeout = 20 * time.Second
	endTimeout   = 10 * time.Second
	lookEvery    = 20 * time.Millisecond
)

// Background is an environment's socket that outlives the command which opened
// it. A process holds it: this program, run as Command ENV, which calls Hold.
type Background struct {
	Home    home.Dir
	Env     string
	Command []string // {"/usr/bin/skep", "_socket"}
}

func (b Background) dir() string     { return filepath.Join(b.Home.Sockets(), b.Env) }
func (b Background) socket() string  { return filepath.Join(b.dir(), "docker.sock") }
func (b Background) pidFile() string { return filepath.Join(b.dir(), "pid") }

// held is locked by the process while it lives: the system lets go of it however
// it dies. starting keeps two commands from starting one each.
func (b Background) held() string     { return filepath.Join(b.dir(), "held") }
func (b Background) starting() string { return filepath.Join(b.dir(), "starting") }

// Host is the socket's address, as DOCKER_HOST has it.
func (b Background) Host() string { return "unix://" + b.socket() }

// Open returns once the socket takes connections, starting its process where
// none lives.
func (b Background) Open(ctx context.Context) error {
	if err := os.MkdirAll(b.dir(), 0o700); err != nil {
		return fmt.Errorf("make a folder for the socket: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("not there within "+startTimeout.String()))
	defer cancel()
	lock := flock.New(b.starting())
	if _, err := lock.TryLockContext(ctx, lookEvery); err != nil {
		return fmt.Errorf("lock the socket of %s: %w", b.Env, err)
	}
	defer func() { _ = lock.Unlock() }()
	if alive, err := b.alive(); err != nil || alive && b.answers(ctx) {
		return err
	}
	if err := b.start(ctx); err != nil {
		return fmt.Errorf("start the process that holds the socket of %s: %w", b.Env, err)
	}
	return nil
}

// start runs the process, detached, and waits for its socket.
func (b Background) start(ctx context.Context) (err error) {
	log, err := os.OpenFile(filepath.Join(b.dir(), "log"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	args := append(b.Command[1:len(b.Command):len(b.Command)], b.Env)
	child := exec.CommandContext(context.WithoutCancel(ctx), b.Command[0], args...) // #nosec G204 -- skep itself
	child.Stdout, child.Stderr = log, log
	detach(child)
	if err := child.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !b.answers(ctx) {
		select {
		case <-ctx.Done():
			_ = terminate(child.Process)
			return context.Cause(ctx)
		case err := <-ended:
			words, _ := io.ReadAll(io.NewSectionReader(log, 0, 4<<10))
			return fmt.Errorf("it ended: %w: %s", err, strings.TrimSpace(string(words)))
		case <-tick.C:
		}
	}
	return nil
}

// answers says whether the socket takes connections.
func (b Background) answers(ctx context.Context) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", b.socket())
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// alive says whether the process lives.
func (b Background) alive() (bool, error) {
	lock := flock.New(b.held())
	free, err := lock.TryRLock()
	if err != nil {
		return false, fmt.Errorf("look for the process that holds the socket of %s: %w", b.Env, err)
	}
	_ = lock.Unlock()
	return !free, nil
}

// Close ends the process and returns once its socket is gone. It says whether
// there was one, whose process may have died.
func (b Background) Close(ctx context.Context) (bool, error) {
	if _, err := os.Stat(b.dir()); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	alive, err := b.alive()
	if err != nil {
		return false, err
	}
	if alive {
		if err := b.end(ctx); err != nil {
			return true, fmt.Errorf("end the process that holds the socket of %s: %w", b.Env, err)
		}
	}
	return true, os.RemoveAll(b.dir())
}

func (b Background) end(ctx context.Context) error {
	text, err := os.ReadFile(b.pidFile())
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := terminate(process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, endTimeout, fmt.Errorf("process %d still runs after %s", pid, endTimeout))
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if alive, err := b.alive(); err != nil || !alive {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Hold is the background process: it serves the socket until ctx ends.
func (b Background) Hold(ctx context.Context, dial Dialer, log *slog.Logger) error {
	if err := os.MkdirAll(b.dir(), 0o700); err != nil {
		return fmt.Errorf("make a folder for the socket: %w", err)
	}
	lock := flock.New(b.held())
	got, err := lock.TryLock()
	if err != nil {
		return fmt.Errorf("lock the socket of %s: %w", b.Env, err)
	}
	if !got {
		return fmt.Errorf("another process holds the socket of %s", b.Env)
	}
	defer func() { _ = lock.Unlock() }()
	if err := os.WriteFile(b.pidFile(), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	ln, err := listen(ctx, b.socket())
	if err != nil {
		return err
	}
	return (&tunnel.Forwarder{Dial: dial, Log: log}).Forward(ctx, ln)
}

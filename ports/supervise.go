package ports

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"skep/home"
)

const (
	// One that ends sooner ended at once; so often in a row it is started again.
	quickEnd  = 2 * time.Second
	mostQuick = 5
	// The pause before a start, doubled with each quick end.
	restartPause = 100 * time.Millisecond
	// How long the process that is started again may take to answer.
	restartTimeout = 10 * time.Second
)

// Supervise runs the process of an environment, which calls Serve, and starts
// it again when it is killed or crashes while tunnels are open. It returns when
// the process ends of itself or ctx is done.
func Supervise(ctx context.Context, dir home.Dir, env string, command []string, log *slog.Logger) error {
	s := supervisor{p: process{dir, env}, command: command, log: log.With("env", env)}
	for quick := 0; ; {
		began := time.Now()
		child, ended, err := s.start(ctx)
		if err != nil {
			return err
		}
		if s.unlock == nil {
			err = s.wait(ctx, child, ended)
		} else {
			err = s.waitUnlocking(ctx, child, ended)
		}
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if quick++; time.Since(began) > quickEnd {
			quick = 0
		}
		// One that ends of itself takes its pid file along, also where it
		// could not start: starting it again would not help.
		if quick > mostQuick || s.p.pid() != child.Pid {
			return fmt.Errorf("the tunnel process of %s: %w", env, err)
		}
		log.Warn("the tunnel process died, starting it again", "error", err)
		wait := time.NewTimer(restartPause << quick)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
		if again, err := s.claim(ctx); err != nil || !again {
			return err
		}
	}
}

// supervisor is the state of a Supervise.
type supervisor struct {
	p       process
	command []string
	log     *slog.Logger
	unlock  func() // of the start lock, held from claim until the process answers
}

// claim takes the right to start the process again: not while a client ends or
// starts it, not when one lives already, and not when nothing is open.
func (s *supervisor) claim(ctx context.Context) (bool, error) {
	waiting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	unlock, err := lock(waiting, s.p.startLock())
	if err != nil {
		return false, err
	}
	alive, err := s.p.alive()
	if err == nil && !alive {
		var t table
		if t, err = tableFile(s.p.dir.TunnelTable()).read(ctx); err == nil && len(t.open(s.p.env)) > 0 {
			s.unlock = unlock
			return true, s.p.sweep()
		}
	}
	unlock()
	return false, err
}

// start starts the process, which lives with this one's terminal and log.
func (s *supervisor) start(ctx context.Context) (*os.Process, <-chan error, error) {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.command[0], s.command[1:]...) //nolint:gosec // skep itself
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return cmd.Process, ended, nil
}

// wait returns how the process ended. When ctx is done it is asked to.
func (s *supervisor) wait(ctx context.Context, child *os.Process, ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	_ = terminate(child) // fails only on one that has ended
	late := time.NewTimer(shutdownTimeout + closeTimeout)
	defer late.Stop()
	select {
	case err := <-ended:
		return err
	case <-late.C:
		_ = child.Kill()
		return <-ended
	}
}

// waitUnlocking is wait, with the start lock let go as soon as the process
// answers or is not going to.
func (s *supervisor) waitUnlocking(ctx context.Context, child *os.Process, ended <-chan error) error {
	starting, cancel := context.WithTimeout(ctx, restartTimeout)
	defer cancel()
	failed := make(chan error, 1)
	if err := s.p.waitReady(starting, ended); err != nil && ctx.Err() == nil && starting.Err() == nil {
		failed <- err
		ended = failed
	}
	s.unlock()
	s.unlock = nil
	return s.wait(ctx, child, ended)
}

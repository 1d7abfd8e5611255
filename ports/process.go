package ports

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"skep/home"
)

const (
	holdTimeout      = 5 * time.Second // for one that is ending to end
	terminateTimeout = 2 * time.Second
	killTimeout      = 10 * time.Second
)

// process is the background process of an environment as the file system shows
// it. It holds a lock while it lives, which the system lets go of however it
// dies: unlike a pid, a lock never belongs to another program by accident.
type process struct {
	dir home.Dir
	env string
}

func (p process) socket() string { return p.dir.TunnelSocket(p.env) }

// aliveLock is held by the process while it lives; startLock by a client while
// it starts or ends the process, so that no two do. Neither file is removed:
// removing a lock file is how two come to hold it.
func (p process) aliveLock() string { return p.socket() + ".alive" }
func (p process) startLock() string { return p.socket() + ".start" }
func (p process) pidFile() string   { return p.socket() + ".pid" }

// hold makes the caller the process. It waits a little for another to end.
func (p process) hold(ctx context.Context) (release func() error, err error) {
	waiting, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	unlock, err := lock(waiting, p.aliveLock())
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("another tunnel process of %s runs: pid %d\nskep tunnel close %s ends it", p.env, p.pid(), p.env)
	case err != nil:
		return nil, err
	}
	if err := os.WriteFile(p.pidFile(), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		unlock()
		return nil, err
	}
	return func() error {
		defer unlock()
		return remove(p.pidFile())
	}, nil
}

// alive says whether the process lives.
func (p process) alive() (bool, error) {
	l := flock.New(p.aliveLock())
	free, err := l.TryRLock() // shared, so that two who look do not take each other for it
	if err != nil {
		return false, fmt.Errorf("look for the tunnel process of %s: %w", p.env, err)
	}
	_ = l.Unlock()
	return !free, nil
}

// pid is the process's id, 0 if it is not known. After a kill it is that of
// the dead: it means something only while alive.
func (p process) pid() int {
	text, err := os.ReadFile(p.pidFile())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

// waitGone returns when the process with that pid is gone, at the latest after
// the timeout. A successor is not waited for.
func (p process) waitGone(ctx context.Context, pid int, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it still runs after %v", timeout))
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		alive, err := p.alive()
		if err != nil {
			return err
		}
		if now := p.pid(); !alive || now != 0 && now != pid {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// end ends a process that does not answer, by its pid. The caller holds the
// start lock, so no successor can take the pid file in between.
func (p process) end(ctx context.Context) error {
	alive, err := p.alive()
	if err != nil || !alive {
		return err
	}
	pid := p.pid()
	if pid == 0 {
		return fmt.Errorf("%s does not tell its pid", p.pidFile())
	}
	proc, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	defer func() { _ = proc.Release() }()
	if err := terminate(proc); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	if p.waitGone(ctx, pid, terminateTimeout) == nil {
		return nil
	}
	if err := proc.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	if err := p.waitGone(ctx, pid, killTimeout); err != nil {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return nil
}

// sweep removes what a process that was killed left. The caller holds the
// start lock and knows that none is alive.
func (p process) sweep() error {
	return errors.Join(remove(p.socket()), remove(p.pidFile()))
}

// remove removes a file that may not be there.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

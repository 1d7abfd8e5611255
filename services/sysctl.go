package services

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"skep/swarm"

	"golang.org/x/sync/errgroup"
)

// Sysctl is a setting of the nodes' kernels that has to be so large at least.
type Sysctl struct {
	Name  string
	Least int
}

// command tells what it is, sets it where that is less, writes it down for the
// next boot, and tells what it is in the end and whether that was written down. A
// user who is not root asks sudo.
func (s Sysctl) command() string {
	path := "/proc/sys/" + strings.ReplaceAll(s.Name, ".", "/")
	file := "/etc/sysctl.d/90-skep-" + strings.ReplaceAll(s.Name, ".", "-") + ".conf"
	set := fmt.Sprintf(`{ [ "$(cat %[1]s)" -ge %[2]d ] || echo %[2]d >%[1]s; } && mkdir -p /etc/sysctl.d && echo "%[3]s = %[2]d" >%[4]s`, path, s.Least, s.Name, file)
	return fmt.Sprintf(`cat %[1]s
[ "$(cat %[1]s)" -ge %[2]d ] && [ -e %[3]s ] || { if [ "$(id -u)" = 0 ]; then sh -c '%[4]s'; else sudo -n sh -c '%[4]s'; fi; } 2>&1
echo; echo "$(cat %[1]s) $([ -e %[3]s ] && echo kept || echo lost)"`, path, s.Least, file, set)
}

// raise sees to the settings on every node that answers.
func (x Executor) raise(ctx context.Context, stack Stack) error {
	if len(stack.Sysctls) == 0 {
		return nil
	}
	engines, err := x.Env.Engines(ctx)
	if err != nil {
		return err
	}
	errs := make([]error, len(engines))
	var g errgroup.Group
	for i, e := range engines {
		g.Go(func() error {
			for _, s := range stack.Sysctls {
				was, err := s.raise(ctx, e)
				if err == nil && was < s.Least {
					x.Log.Info(fmt.Sprintf("%s raised from %d to %d", s.Name, was, s.Least), "node", e.Node())
				}
				errs[i] = errors.Join(errs[i], err)
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// raise tells what the setting was.
func (s Sysctl) raise(ctx context.Context, e *swarm.Engine) (was int, err error) {
	out, err := e.Conn().Run(ctx, s.command(), nil)
	if err != nil {
		return 0, fmt.Errorf("set %s on %s: %w", s.Name, e.Node(), err)
	}
	is, kept, why, err := s.read(out)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read %s on %s: %w", s.Name, e.Node(), err)
	case is < s.Least:
		return is, fmt.Errorf("%s is %d on %s, where it cannot be set to the %d that it has to be: %s", s.Name, is, e.Node(), s.Least, why)
	case !kept:
		return is, fmt.Errorf("%s is %d on %s, and cannot be written down for the next boot: %s", s.Name, is, e.Node(), why)
	}
	if _, err := fmt.Sscan(out, &was); err != nil {
		return 0, fmt.Errorf("read %s on %s: %w", s.Name, e.Node(), err)
	}
	return was, nil
}

// read takes the command's output apart: the last line is what the setting is
// and whether it was written down, what is before why not.
func (s Sysctl) read(out string) (is int, kept bool, why string, err error) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := len(lines) - 1
	var word string
	_, err = fmt.Sscan(lines[last], &is, &word)
	return is, word == "kept", strings.TrimSpace(strings.Join(lines[min(1, last):last], " ")), err
}

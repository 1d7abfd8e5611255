//go:build unix

package ports

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// detach makes cmd outlive this process and its terminal.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}

// terminate asks a process to end.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// restrict makes a socket its user's own.
func restrict(path string) error { return os.Chmod(path, 0o600) }

// inUse, forbidden and refused tell the reasons of a listen or a dial apart.
func inUse(err error) bool     { return errors.Is(err, syscall.EADDRINUSE) }
func forbidden(err error) bool { return errors.Is(err, fs.ErrPermission) }
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

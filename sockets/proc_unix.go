//go:build unix

package sockets

import (
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

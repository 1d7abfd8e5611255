//go:build !windows

package dockermachine

import (
	"os/exec"
	"syscall"
)

// apart keeps the terminal's Ctrl-C from a program: one that is broken off while
// it makes a machine leaves it behind, unknown to anybody.
func apart(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

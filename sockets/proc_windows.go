package sockets

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// detach makes cmd outlive this process and its console.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
}

// terminate ends a process at once: one without a console hears no request.
func terminate(p *os.Process) error { return p.Kill() }

// restrict has nothing to do: a file inherits its folder's access list, and
// the folder is in the user's own profile.
func restrict(string) error { return nil }

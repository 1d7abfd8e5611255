package ports

import (
	"errors"
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

// inUse, forbidden and refused tell the reasons of a listen or a dial apart.
// The names that package syscall has for them are not what Winsock returns.
func inUse(err error) bool     { return errors.Is(err, windows.WSAEADDRINUSE) }
func forbidden(err error) bool { return errors.Is(err, windows.WSAEACCES) }
func refused(err error) bool {
	return errors.Is(err, windows.WSAECONNREFUSED) || errors.Is(err, windows.WSAECONNRESET) || errors.Is(err, windows.WSAECONNABORTED)
}

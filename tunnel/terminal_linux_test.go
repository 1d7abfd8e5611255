package tunnel

import (
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// openTerminal makes a pseudo-terminal and returns the end that a process has.
func openTerminal(t *testing.T, size unix.Winsize) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	setSize(t, terminal, size)
	return terminal
}

func setSize(t *testing.T, terminal *os.File, size unix.Winsize) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &size); err != nil {
		t.Fatal(err)
	}
}

func TestShellOnATerminalGetsOneThereOfTheSameSize(t *testing.T) {
	sizes := make(chan string, 2)
	begun, leave := make(chan struct{}), make(chan struct{})
	s := startServer(t, func(s *sshd) {
		s.resized = func(width, height uint32) { sizes <- fmt.Sprintf("%dx%d", width, height) }
		s.run = func(c session) int {
			close(begun)
			select {
			case <-leave:
			case <-c.ctx.Done():
			}
			return 0
		}
	})
	c := s.connected(t)
	terminal := openTerminal(t, unix.Winsize{Col: 101, Row: 37})
	before, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := c.Shell(t.Context(), "", Streams{In: terminal, Out: io.Discard, Err: io.Discard})
		ended <- err
	}()
	if size := within(t, "a terminal", sizes); size != "101x37" {
		t.Errorf("asked for a terminal of %s", size)
	}
	within(t, "the shell", begun)
	setSize(t, terminal, unix.Winsize{Col: 80, Row: 24})
	// The kernel signals only the processes that the terminal controls.
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	if size := within(t, "the new size", sizes); size != "80x24" {
		t.Errorf("told the size %s", size)
	}
	close(leave)
	if err := within(t, "the end of the shell", ended); err != nil {
		t.Error(err)
	}
	after, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if *before != *after {
		t.Error("the terminal is not as it was")
	}
}

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/term"
)

// Streams are the three of a process.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Shell runs a command, or an interactive shell for an empty one, with the
// streams attached. On a terminal it gets a terminal there too. It returns the
// command's exit code.
func (c *Conn) Shell(ctx context.Context, command string, s Streams) (int, error) {
	session, err := c.newSession(ctx)
	if err != nil {
		return 0, fmt.Errorf("open a session on %s: %w", c.Name(), err)
	}
	defer func() { _ = session.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	session.Stdin, session.Stdout, session.Stderr = s.In, s.Out, s.Err
	if terminal, ok := s.In.(*os.File); ok && command == "" && term.IsTerminal(int(terminal.Fd())) {
		restore, err := attachTerminal(session, int(terminal.Fd()))
		if err != nil {
			return 0, fmt.Errorf("terminal on %s: %w", c.Name(), err)
		}
		defer restore()
	}
	if command == "" {
		if err := session.Shell(); err != nil {
			return 0, fmt.Errorf("shell on %s: %w", c.Name(), err)
		}
		err = session.Wait()
	} else {
		err = session.Run(command)
	}
	var exit *ssh.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitStatus(), nil
	case err != nil && ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err != nil:
		return 0, fmt.Errorf("on %s: %w", c.Name(), err)
	}
	return 0, nil
}

// attachTerminal asks for a terminal of this one's kind and size and puts this
// one into raw mode until restore.
func attachTerminal(session *ssh.Session, fd int) (restore func(), err error) {
	width, height, err := term.GetSize(fd)
	if err != nil {
		return nil, err
	}
	kind := os.Getenv("TERM")
	if kind == "" {
		kind = "xterm"
	}
	if err := session.RequestPty(kind, height, width, ssh.TerminalModes{}); err != nil {
		return nil, err
	}
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	stop := watchSize(func() {
		if w, h, err := term.GetSize(fd); err == nil {
			_ = session.WindowChange(h, w)
		}
	})
	return func() {
		stop()
		_ = term.Restore(fd, old)
	}, nil
}

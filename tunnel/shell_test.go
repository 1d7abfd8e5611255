package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestShellRunsACommandWithTheStreamsAttached(t *testing.T) {
	c := startServer(t).connected(t)
	var out, errs bytes.Buffer
	code, err := c.Shell(t.Context(), "cat; echo aside >&2; exit 3", Streams{In: strings.NewReader("typed\n"), Out: &out, Err: &errs})
	if code != 3 || err != nil || out.String() != "typed\n" || errs.String() != "aside\n" {
		t.Errorf("exit code %d, %v, stdout %q, stderr %q", code, err, out.String(), errs.String())
	}
}

// What is typed is not at its end when the command is.
func TestShellDoesNotWaitForStdin(t *testing.T) {
	c := startServer(t).connected(t)
	in, typing := io.Pipe()
	defer func() { _ = typing.Close() }()
	ended := make(chan int)
	go func() {
		code, _ := c.Shell(t.Context(), "exit 0", Streams{In: in, Out: io.Discard, Err: io.Discard})
		ended <- code
	}()
	if code := within(t, "the end of a command", ended); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestShellWithoutACommandIsTheMachinesOwn(t *testing.T) {
	s := startServer(t, func(s *sshd) {
		s.run = func(c session) int {
			if c.command != "" {
				t.Errorf("ran %q", c.command)
			}
			_, _ = io.Copy(c.stdio, c.stdio)
			return 7
		}
	})
	var out bytes.Buffer
	code, err := s.connected(t).Shell(t.Context(), "", Streams{In: strings.NewReader("exit 7\n"), Out: &out, Err: io.Discard})
	if code != 7 || err != nil || out.String() != "exit 7\n" {
		t.Errorf("exit code %d, %v, stdout %q", code, err, out.String())
	}
}

func TestShellEndsWithItsContext(t *testing.T) {
	s, started := startEndless(t)
	why := errors.New("the user pressed Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	c := s.connected(t)
	ended := make(chan error)
	go func() {
		_, err := c.Shell(ctx, "sleep 1000", Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
		ended <- err
	}()
	<-started
	cancel(why)
	if err := within(t, "the end of a command", ended); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}

// A server that goes is no command that ended.
func TestShellTellsAConnectionThatBroke(t *testing.T) {
	s, started := startEndless(t)
	c := s.connected(t)
	ended := make(chan error)
	go func() {
		_, err := c.Shell(t.Context(), "sleep 1000", Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
		ended <- err
	}()
	<-started
	s.drop()
	if err := within(t, "the end of a command", ended); err == nil || !strings.Contains(err.Error(), "dev-manager-1") {
		t.Errorf("error %v", err)
	}
}

package cmd

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"skep/home"
	"skep/providers/docker"

	"github.com/spf13/cobra"
)

// terminal is a skep of this process that keeps what it writes.
func terminal(t *testing.T) (s *skep, out, err *bytes.Buffer) {
	t.Helper()
	out, err = &bytes.Buffer{}, &bytes.Buffer{}
	dir := t.TempDir()
	s = &skep{
		Streams: Streams{In: strings.NewReader(""), Out: out, Err: err},
		home:    home.Dir{Config: filepath.Join(dir, "config"), State: filepath.Join(dir, "state")},
	}
	s.local = &docker.Driver{Key: s.home.Key(), Version: Version, Sockets: s.home.Sockets()}
	return s, out, err
}

// walk calls back with every command of skep's own.
func walk(c *cobra.Command, each func(*cobra.Command)) {
	each(c)
	for _, below := range c.Commands() {
		walk(below, each)
	}
}

func TestEveryCommandIsExplained(t *testing.T) {
	s, _, _ := terminal(t)
	count := 0
	walk(s.root(), func(c *cobra.Command) {
		path := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || strings.Contains(c.Short, "\n") {
			t.Errorf("%s: %q says too little or too much", path, c.Short)
		}
		if c.Args == nil {
			t.Errorf("%s takes any arguments", path)
		}
		if c.HasSubCommands() || c.Hidden {
			return
		}
		count++
		if c.Example == "" {
			t.Errorf("%s shows no example", path)
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(strings.TrimRight(line, "\n")+" ", "  "+path+" ") {
				t.Errorf("%s: the example %q is not one of it", path, line)
			}
		}
	})
	if count < 15 {
		t.Errorf("saw %d commands", count)
	}
}

// What a reader copies from the help has to be taken by the command line.
func TestExamplesParse(t *testing.T) {
	s, _, _ := terminal(t)
	walk(s.root(), func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			line, _, _ = strings.Cut(line, "#")
			words := strings.Fields(line)
			if len(words) == 0 || words[0] != "skep" {
				t.Errorf("%s: example %q", c.CommandPath(), line)
				continue
			}
			// A root of its own: flags keep what they were set to.
			fresh, _, _ := terminal(t)
			found, args, err := fresh.root().Find(words[1:])
			if err == nil {
				err = found.ParseFlags(args)
			}
			if err == nil {
				err = found.ValidateArgs(found.Flags().Args())
			}
			if err != nil || found.HasSubCommands() {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
		}
	})
}

func TestHelpOfEveryCommandIsPlain(t *testing.T) {
	s, _, _ := terminal(t)
	walk(s.root(), func(c *cobra.Command) {
		fresh, out, errs := terminal(t)
		root := fresh.root()
		root.SetOut(out)
		root.SetErr(errs)
		root.SetArgs(append(strings.Fields(c.CommandPath())[1:], "--help"))
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Errorf("%s: %v", c.CommandPath(), err)
		}
		if errs.Len() > 0 || !strings.Contains(out.String(), "Usage:") || strings.ContainsAny(out.String(), "\x1b\r") {
			t.Errorf("%s: stdout %q, stderr %q", c.CommandPath(), out, errs)
		}
	})
}

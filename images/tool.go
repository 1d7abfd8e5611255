package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// command runs a tool in the source's folder and returns what it printed.
func (o Options) command(ctx context.Context, env []string, name string, args ...string) (string, error) {
	var out bytes.Buffer
	err := o.run(ctx, env, &out, name, args...)
	return out.String(), err
}

// run runs a tool in the source's folder. One that fails leaves its own words in
// the error.
func (o Options) run(ctx context.Context, env []string, out io.Writer, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...) // #nosec G204 -- go, gofmt and git
	c.Dir, c.Env = o.Source, append(append(os.Environ(), "GOTMPDIR="+o.Work), env...)
	var errs bytes.Buffer
	c.Stdout, c.Stderr = out, &errs
	err := c.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		if name == "go" {
			name = "go (https://go.dev/dl)"
		}
		return fmt.Errorf("%s is not installed here", name)
	}
	return &toolError{name + " " + args[0], err, strings.TrimSpace(errs.String())}
}

// toolError is a tool that did not succeed.
type toolError struct {
	tool  string
	err   error
	words string
}

func (e *toolError) Error() string {
	if e.words == "" {
		return e.tool + ": " + e.err.Error()
	}
	return e.tool + ": " + e.words
}

func (e *toolError) Unwrap() error { return e.err }

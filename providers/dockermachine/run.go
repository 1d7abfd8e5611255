package dockermachine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const program = "docker-machine"

// commandTimeout is for commands that make nothing.
const commandTimeout = 5 * time.Minute

// installed says what to do where docker-machine is missing.
func installed() error {
	if _, err := exec.LookPath(program); err != nil {
		return errors.New("docker-machine is not on PATH: install it (0.16 or later), which makes the machines of all others")
	}
	return nil
}

// run runs docker-machine and returns what it printed, less the spaces around.
func run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTimeout, fmt.Errorf("not done within %s", commandTimeout))
	defer cancel()
	return output(ctx, exec.CommandContext(ctx, program, args...)) // #nosec G204 -- that is what the driver does
}

func output(ctx context.Context, c *exec.Cmd) (string, error) {
	apart(c)
	var out, words bytes.Buffer
	c.Stdout, c.Stderr = &out, &words
	if err := c.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", &failure{args: c.Args[1:], words: last(cmp.Or(strings.TrimSpace(words.String()), strings.TrimSpace(out.String()))), err: err}
	}
	return strings.TrimSpace(out.String()), nil
}

// failure is a docker-machine that failed.
type failure struct {
	args  []string
	words string
	err   error
}

// Error leaves out what is between the command and the machine: a value of an
// option may be secret.
func (f *failure) Error() string {
	return fmt.Sprintf("docker-machine %s %s: %s", f.args[0], f.args[len(f.args)-1], cmp.Or(f.words, f.err.Error()))
}

func (f *failure) Unwrap() error { return f.err }

// gone says whether docker-machine does not know the machine.
func gone(err error) bool {
	var f *failure
	return errors.As(err, &f) && strings.Contains(f.words, "does not exist")
}

// last is the last line that says something.
func last(text string) string {
	lines := strings.Split(text, "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

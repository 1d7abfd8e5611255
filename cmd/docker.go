package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"skep/nodes"
	"skep/providers"
	"skep/sockets"
	"skep/swarm"
	"skep/usage"

	"github.com/spf13/cobra"
)

// dockerGrace is how long the docker CLI may take to end after a signal.
const dockerGrace = 10 * time.Second

// A manager that has a leader answers well within it.
const managerSoon = 3 * time.Second

func (s *skep) dockerCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "docker ENV [--] ARGS…", Short: "Run the docker CLI against a manager of the environment",
		Long: `Run your docker CLI against a manager of the environment, over SSH, through a
socket that is yours alone and lives as long as the command. Its exit code is
the command's. What follows ENV is the docker CLI's own.`,
		Example: "  skep docker dev node ls\n  skep docker dev -- run --rm -it alpine\n  skep docker dev stack deploy -c compose.yml shop",
		Args:    takes(2, -1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			args = args[1:]
			if args[0] == "--" {
				args = args[1:]
			}
			if len(args) == 0 {
				return usage.Errorf("usage: %s", c.UseLine())
			}
			if err := s.awaitManager(c.Context(), e); err != nil {
				return err // in one line, not in the words of the docker CLI
			}
			return sockets.With(c.Context(), managerOf(e), s.log(), func(host string) error {
				return s.runDocker(c.Context(), host, args)
			})
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}

func managerOf(e *nodes.Environment) sockets.Dialer {
	return func(ctx context.Context) (net.Conn, error) { return swarm.DialAPI(ctx, e) }
}

// awaitManager returns once a manager answers. Where one has just died, the
// others take a while to agree on who leads; where none runs, waiting is of no
// use.
func (s *skep) awaitManager(ctx context.Context, e *nodes.Environment) error {
	soon, cancel := context.WithTimeout(ctx, managerSoon)
	defer cancel()
	_, err := e.Manager(soon)
	if err == nil || ctx.Err() != nil || errors.Is(err, nodes.ErrNoEnvironment) {
		return err
	}
	machines, listed := e.Machines(ctx)
	runs := func(m providers.Machine) bool { return m.Running && m.Role == providers.Manager }
	if listed != nil || !slices.ContainsFunc(machines, runs) {
		return err
	}
	s.log().Info("waiting for a manager of " + e.Name + " to answer")
	conn, err := swarm.DialAPI(ctx, e)
	if err != nil {
		return err
	}
	return conn.Close()
}

// runDocker runs the docker CLI with this process's streams.
func (s *skep) runDocker(ctx context.Context, host string, args []string) error {
	path, err := exec.LookPath("docker")
	if err != nil {
		return errors.New("there is no docker command here: install the docker CLI (no engine is needed)")
	}
	c := exec.CommandContext(ctx, path, args...) // #nosec G204 -- what the user typed
	c.Stdin, c.Stdout, c.Stderr = s.In, s.Out, s.Err
	c.Env = append(without(os.Environ(), "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"), "DOCKER_HOST="+host)
	c.Cancel = func() error {
		var why signalError
		if errors.As(context.Cause(ctx), &why) {
			return c.Process.Signal(why.signal)
		}
		return c.Process.Kill()
	}
	c.WaitDelay = dockerGrace
	err = c.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	code := exit.ExitCode()
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = signalled + int(status.Signal())
	}
	return exitError{code}
}

// without leaves variables out.
func without(env []string, names ...string) []string {
	var kept []string
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		drop := false
		for _, n := range names {
			drop = drop || n == name
		}
		if !drop {
			kept = append(kept, v)
		}
	}
	return kept
}

func (s *skep) envCommand() *cobra.Command {
	var closing, makeContext bool
	c := &cobra.Command{
		Use: "env [--close] [--context] ENV", Short: "Keep a socket to the environment's manager open, and print DOCKER_HOST",
		Long: `Keep a socket to the environment's manager open in the background, and print the
line that makes docker commands use it. It stays until --close, or until the
environment is removed; when one manager dies, it leads to another.`,
		Example: "  skep env dev                          # then: eval $(skep env dev)\n  skep env --context dev                # then: docker --context skep-dev node ls\n  skep env --close dev",
		Args:    takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			b, err := s.socket(e.Name)
			if err != nil {
				return err
			}
			if closing {
				return s.closeSocket(c.Context(), e.Name)
			}
			if err := s.awaitManager(c.Context(), e); err != nil {
				return err
			}
			if err := b.Open(c.Context()); err != nil {
				return err
			}
			name := ""
			if makeContext {
				name = contextName(e.Name)
				if err := s.dockerContext(c.Context(), e.Name, b.Host()); err != nil {
					return err
				}
			}
			result := map[string]string{"env": e.Name, "docker_host": b.Host(), "context": name}
			return s.print(result, func(w io.Writer) { _, _ = fmt.Fprintln(w, "export DOCKER_HOST="+b.Host()) })
		},
	}
	c.Flags().BoolVar(&closing, "close", false, "close the socket, and remove its docker context")
	c.Flags().BoolVar(&makeContext, "context", false, "make the docker context skep-ENV, too")
	return c
}

// socketServe is the background process that holds an environment's socket.
func (s *skep) socketServe() *cobra.Command {
	return &cobra.Command{
		Use: "_socket ENV", Short: "Hold an environment's socket (started by env)", Hidden: true,
		Args: takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			b, err := s.socket(e.Name)
			if err != nil {
				return err
			}
			return b.Hold(c.Context(), managerOf(e), s.log())
		},
	}
}

func (s *skep) socket(env string) (sockets.Background, error) {
	self, err := os.Executable()
	if err != nil {
		return sockets.Background{}, fmt.Errorf("find skep's own file: %w", err)
	}
	return sockets.Background{Home: s.home, Env: env, Command: []string{self, "_socket"}}, nil
}

// closeSocket ends an environment's socket and the docker context that uses it.
func (s *skep) closeSocket(ctx context.Context, env string) error {
	b, err := s.socket(env)
	if err != nil {
		return err
	}
	was, err := b.Close(ctx)
	if was {
		s.log().Info("closed the socket of " + env)
		// Most have no context: that it is not there is no error.
		_ = s.quietDocker(ctx, "context", "rm", "-f", contextName(env))
	}
	return err
}

func contextName(env string) string { return "skep-" + env }

// dockerContext makes the context, or brings it to this address.
func (s *skep) dockerContext(ctx context.Context, env, host string) error {
	args := []string{contextName(env), "--description", "skep environment " + env, "--docker", "host=" + host}
	if s.quietDocker(ctx, "context", "inspect", contextName(env)) == nil {
		return s.quietDocker(ctx, append([]string{"context", "update"}, args...)...)
	}
	return s.quietDocker(ctx, append([]string{"context", "create"}, args...)...)
}

// quietDocker runs a docker command whose words matter only where it fails.
func (s *skep) quietDocker(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput() // #nosec G204 -- words of our own
	if err != nil {
		return fmt.Errorf("docker %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

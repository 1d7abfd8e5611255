// Package cmd is the command line: flags in, one call down, the result
// rendered. It holds no logic of its own; a command that would need any calls
// for it in nodes, services or ports.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"skep/home"
	"skep/nodes"
	"skep/ports"
	"skep/providers"
	"skep/providers/digitalocean"
	"skep/providers/docker"
	"skep/providers/dockermachine"
	"skep/providers/ssh"
	"skep/services"
	"skep/usage"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

// Version is skep's own, and the tag of the node image that belongs to it.
const Version = "0.1.0"

// Exit codes of the contract; a signal adds its number to signalled.
const (
	done      = 0
	failed    = 1
	misused   = 2
	signalled = 128
)

// Streams are what a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// skep is what commands share: the flags of all of them and the way down.
type skep struct {
	Streams
	home           home.Dir
	asJSON         bool
	quiet, verbose bool
	local          *docker.Driver
	droplets       *digitalocean.Driver
}

// Main runs a command line and returns its exit code.
func Main(args []string, streams Streams) int {
	ctx, stop := signals()
	defer stop()
	s := &skep{Streams: streams, home: home.Default()}
	s.local = &docker.Driver{Key: s.home.Key(), Version: Version, Sockets: s.home.Sockets()}
	s.droplets = &digitalocean.Driver{Key: s.home.Key(), Version: Version}
	root := s.root()
	root.SetArgs(args)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	err := root.ExecuteContext(ctx)
	return s.exitCode(ctx, err)
}

// signalError is why a context ended.
type signalError struct{ signal syscall.Signal }

func (s signalError) Error() string { return "stopped by " + s.signal.String() }

// A signal that follows another one so soon is the same: timeout(1) sends one to
// its command and one to the group.
const sameSignal = time.Second

// signals cancels the context at the first signal; the second ends at once.
func signals() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	arrived := make(chan os.Signal, 2)
	signal.Notify(arrived, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup would have it
		signal.Notify(arrived, syscall.SIGHUP)
	}
	go func() {
		var first time.Time
		for {
			sig, ok := (<-arrived).(syscall.Signal)
			switch {
			case !ok:
				return
			case first.IsZero():
				first = time.Now()
				cancel(signalError{sig})
			case time.Since(first) > sameSignal:
				os.Exit(signalled + int(sig))
			}
		}
	}()
	return ctx, func() {
		signal.Stop(arrived)
		close(arrived)
		cancel(nil)
	}
}

// exitError ends with a code without another word: the result says it all.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func (s *skep) exitCode(ctx context.Context, err error) int {
	if err == nil {
		return done
	}
	var exit exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	var sig signalError
	var wrong usage.Error
	words := strings.ReplaceAll(err.Error(), "\n", "; ")
	if errors.As(context.Cause(ctx), &sig) && strings.Count(words, sig.Error()) > 1 {
		words = sig.Error() // what it stopped in says nothing more
	}
	_, _ = fmt.Fprintln(s.Err, "skep:", words)
	switch {
	case errors.As(context.Cause(ctx), &sig):
		return signalled + int(sig.signal)
	case errors.As(err, &wrong):
		return misused
	}
	return failed
}

func (s *skep) root() *cobra.Command {
	root := group("skep", "Machines, a swarm, a clustered database, an app, and back into nothing",
		s.nodesCommand(), s.rethinkCommand(), s.rqliteCommand(), s.crateCommand(), s.etcdCommand(), s.consulCommand(), s.discoveryCommand(), s.appCommand(), s.tunnelCommand(), s.relayCommand(), s.probeCommand(), s.dockerCommand(), s.envCommand(), s.socketServe(), s.versionCommand())
	root.Long = `skep turns a name like dev into machines, a Docker swarm on them, a clustered
database and an app, with tunnels to their admin pages, and back into nothing.`
	root.Example = `  skep nodes create dev                 # one manager, two workers
  skep rqlite create dev                # a database on them
  skep app deploy -t 9090 hello hello:0.1 dev
  skep nodes rm dev                     # and nothing is left`
	root.SilenceErrors, root.SilenceUsage = true, true
	flags := root.PersistentFlags()
	flags.BoolVar(&s.asJSON, "json", false, "print the result as JSON")
	flags.BoolVarP(&s.quiet, "quiet", "q", false, "tell warnings and errors only")
	flags.BoolVarP(&s.verbose, "verbose", "v", false, "tell more")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage.Errorf("%v: see `%s --help`", err, c.CommandPath())
	})
	checkCompletion(root)
	root.SetHelpCommand(helpCommand(root))
	return root
}

// checkCompletion makes cobra's own completion command as strict as the others.
func checkCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = onlyBelow, showHelp
			for _, shell := range c.Commands() {
				shell.Args, shell.Example = takes(0, 0), "  skep completion "+shell.Name()
			}
		}
	}
}

// helpCommand is cobra's own, but that it refuses what is no command.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND…]", Short: "Help about any command", Example: "  skep help nodes create",
		RunE: func(_ *cobra.Command, args []string) error {
			found, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usage.Errorf("there is no command %q: see `skep --help`", "skep "+strings.Join(args, " "))
			}
			return found.Help()
		},
	}
}

// group is a command that only has others below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short,
		Args: onlyBelow, RunE: showHelp,
	}
	c.AddCommand(below...)
	return c
}

func onlyBelow(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage.Errorf("there is no command %q: see `%s --help`", c.CommandPath()+" "+args[0], c.CommandPath())
	}
	return nil
}

func showHelp(c *cobra.Command, _ []string) error { return c.Help() }

// takes checks the number of arguments; most below 0 means any number.
func takes(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usage.Errorf("usage: %s", c.UseLine())
		}
		return nil
	}
}

func (s *skep) log() *slog.Logger {
	level := slog.LevelInfo
	switch {
	case s.quiet:
		level = slog.LevelWarn
	case s.verbose:
		level = slog.LevelDebug
	}
	return slog.New(&lines{mu: &sync.Mutex{}, out: s.Err, level: level})
}

func (s *skep) drivers() map[string]providers.Driver {
	own := map[string]providers.Driver{
		docker.Name:       s.local,
		digitalocean.Name: s.droplets,
		ssh.Name:          &ssh.Driver{Folder: s.home.Hosts()},
	}
	own[nodes.AnyDriver] = &dockermachine.Driver{Own: slices.Sorted(maps.Keys(own))}
	return own
}

// environment opens one by name, which it checks.
func (s *skep) environment(name string) (*nodes.Environment, error) {
	if err := nodes.CheckName(name); err != nil {
		return nil, err
	}
	return s.open(name), nil
}

func (s *skep) open(name string) *nodes.Environment {
	return &nodes.Environment{Name: name, Drivers: s.drivers(), Home: s.home, Log: s.log(), Local: s.engine}
}

func (s *skep) engine() (*client.Client, error) { return s.local.Engine() }

func (s *skep) executor(e *nodes.Environment) services.Executor {
	return services.Executor{Env: e, Local: s.engine, Log: s.log(), Progress: s.progress()}
}

func (s *skep) tunnels() (ports.Client, error) {
	self, err := os.Executable()
	if err != nil {
		return ports.Client{}, fmt.Errorf("find skep's own file: %w", err)
	}
	return ports.Client{Home: s.home, Command: []string{self, "tunnel", "serve", "--supervise"}, Log: s.log()}, nil
}

// completeEnv offers the names of environments that there are.
func (s *skep) completeEnv(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return s.completeEnvAfter(0)(c, args, typed)
}

// completeEnvAfter offers them after so many other arguments.
func (s *skep) completeEnvAfter(others int) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) != others {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return s.environments(c)
	}
}

func (s *skep) environments(c *cobra.Command) ([]string, cobra.ShellCompDirective) {
	names, err := nodes.Names(c.Context(), s.drivers())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (s *skep) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print skep's version", Example: "  skep version --json", Args: takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			return s.print(map[string]string{"version": Version}, func(w io.Writer) { _, _ = fmt.Fprintln(w, Version) })
		},
	}
}

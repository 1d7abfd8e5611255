package cmd

import (
	"context"
	"fmt"
	"io"
	"regexp"

	"skep/nodes"
	"skep/ports"
	"skep/services"

	"github.com/spf13/cobra"
)

// database is what the commands of a database need to know of it.
type database struct {
	name, title string
	image       string         // unless another is named; "" where it is skep's own
	services    *regexp.Regexp // names of its services
	page        string         // service whose page `open` opens
	port        int
	alive       string // path that answers 200 once a server serves
	// forget removes what is kept of the database on this computer once its
	// data is gone; nil where nothing is.
	forget func(ctx context.Context, e *nodes.Environment) error
	// stack is the database as it is to be on this environment.
	stack func(ctx context.Context, x services.Executor, image string) (services.Stack, error)
	// status is asked instead of alive where the servers can tell more.
	status func(ctx context.Context, x services.Executor, env string) (services.Status, error)
}

func (s *skep) databaseCreate(d database) *cobra.Command {
	var image string
	c := &cobra.Command{
		Use: "create [flags] ENV", Short: "Create the " + d.title + " cluster, or bring it to what it should be",
		Long: "Create the " + d.title + ` cluster on an environment. Run again it puts right what is not
as it should be, and leaves what is. Data is never touched.`,
		Example: fmt.Sprintf("  skep %s create dev", d.name),
		Args:    takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			x := s.executor(e)
			stack, err := d.stack(c.Context(), x, image)
			if err != nil {
				return err
			}
			if err := x.Deploy(c.Context(), stack); err != nil {
				return err
			}
			s.log().Info(d.title + " serves on " + e.Name)
			return nil
		},
	}
	if d.image != "" {
		c.Example += fmt.Sprintf("\n  skep %s create --image %s dev", d.name, d.image)
		c.Flags().StringVar(&image, "image", d.image, "image of the server")
	}
	return c
}

func (s *skep) databaseOpen(d database) *cobra.Command {
	return s.pageOpen(d, func(context.Context, *nodes.Environment) (string, error) { return "http", nil })
}

// pageOpen opens the page of a database, over what the scheme function says.
func (s *skep) pageOpen(d database, scheme func(context.Context, *nodes.Environment) (string, error)) *cobra.Command {
	var local int
	c := &cobra.Command{
		Use: "open ENV", Short: "Open a tunnel to " + d.title + ", and a browser where there is one",
		Example: "  skep " + d.name + " open dev",
		Args:    takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			t, err := s.openTunnel(c.Context(), args[0], d.page, d.port, ports.Local{Port: local})
			if err != nil {
				return err
			}
			if err := s.printTunnels([]ports.Tunnel{t}); err != nil {
				return err
			}
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			speaks, err := scheme(c.Context(), e)
			if err != nil {
				return err
			}
			browse(c.Context(), fmt.Sprintf("%s://localhost:%d", speaks, t.LocalPort))
			return nil
		},
	}
	c.Flags().IntVar(&local, "port", 0, "local port (default the environment's own)")
	return c
}

func (s *skep) databaseStatus(d database) *cobra.Command {
	return &cobra.Command{
		Use: "status ENV", Short: "Tell which servers of " + d.title + " serve; exit code 1 when not all do",
		Example: "  skep " + d.name + " status dev --json",
		Args:    takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			x := s.executor(e)
			ask := d.status
			if ask == nil {
				ask = func(ctx context.Context, x services.Executor, env string) (services.Status, error) {
					return x.Status(ctx, env, d.name, d.port, d.alive)
				}
			}
			status, err := ask(c.Context(), x, e.Name)
			if err != nil {
				return err
			}
			err = s.print(status, func(w io.Writer) {
				row(w, "SERVER", "NODE", "ADDRESS", "READY")
				for _, server := range status.Servers {
					row(w, server.Name, server.Node, server.Address, server.Ready)
				}
				if status.Health != "" {
					row(w, "tables", "", "", status.Health)
				}
			})
			if err == nil && !status.Ready {
				err = exitError{failed}
			}
			return err
		},
	}
}

func (s *skep) databaseRemove(d database) *cobra.Command {
	var volumes, force bool
	c := &cobra.Command{
		Use: "rm [--volumes] ENV", Short: "Remove " + d.title + "; its data stays unless --volumes is given",
		Example: "  skep " + d.name + " rm dev\n  skep " + d.name + " rm --volumes dev",
		Args:    takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			if volumes && !force {
				if err := s.confirm(c.Context(), e.Name, "removes all data of "+d.title+" on "+e.Name); err != nil {
					return err
				}
			}
			return s.remove(c.Context(), e.Name, d.services.MatchString, func(ctx context.Context) error {
				if err := s.executor(e).Remove(ctx, d.name, volumes); err != nil || !volumes || d.forget == nil {
					return err
				}
				return d.forget(ctx, e)
			})
		},
	}
	c.Flags().BoolVar(&volumes, "volumes", false, "remove the data on every node, too")
	c.Flags().BoolVarP(&force, "force", "f", false, "with --volumes: do not ask for the environment's name")
	return c
}

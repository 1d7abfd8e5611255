package cmd

import (
	"fmt"
	"io"
	"strings"

	"skep/ports"
	"skep/services"

	"github.com/spf13/cobra"
)

func (s *skep) rqliteCommand() *cobra.Command {
	c := group("rqlite", "rqlite: clusters of 1, 3 or 5 voters, and servers that read on further nodes",
		s.rqliteCreate(), s.rqliteOpen(), s.rqliteStatus(), s.rqliteRemove(), s.rqliteBackup(), s.rqliteRestore())
	c.Long = `rqlite clusters. An environment has one of its own, and others by --name.`
	return c
}

// clusterFlag is the name of one of several clusters.
func clusterFlag(c *cobra.Command, name *string) *cobra.Command {
	c.Flags().StringVar(name, "name", "", "name of the cluster (default the environment's own)")
	return c
}

func (s *skep) rqliteCreate() *cobra.Command {
	o := services.RqliteOptions{}
	var mode string
	var modes []string
	for _, m := range services.RqliteModes() {
		modes = append(modes, string(m))
	}
	c := &cobra.Command{
		Use: "create [flags] ENV", Short: "Create an rqlite cluster, or bring it to what it should be",
		Long: `Create an rqlite cluster on an environment: voters on 1, 3 or 5 nodes, and where
there are more nodes a server on each that follows and does not vote. Run again
it puts right what is not as it should be, and leaves what is. With a smaller -n
voters leave the cluster, and their copy of the data goes with them.

How servers find each other at their first start:
  dns        by the addresses of the service's tasks
  bootstrap  by a list of all; each voter is a service of its own: rq1, rq2, …
  dns-srv    by SRV records of _rqlite-svc._tcp, which a service of skep's serves
  etcd       by a key in etcd, of which three members are created (skep etcd)
  consul     by a key in Consul, at --consul or one that is created (skep consul)
  service    by the discovery service (skep discovery). rqlite speaks to it up to
             version 6, and such a server is lost to its cluster when all of them
             come back with other addresses at once: keep backups`,
		Example: `  skep rqlite create dev
  skep rqlite create -n 5 --discovery etcd --name orders dev
  skep rqlite create --discovery consul --consul 10.0.0.5:8500 dev`,
		Args: takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			o.Mode = services.RqliteMode(mode)
			if err := o.Check(); err != nil {
				return err
			}
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			if err := s.executor(e).CreateRqlite(c.Context(), o); err != nil {
				return err
			}
			s.log().Info(services.RqliteStack(o.Name) + " serves on " + e.Name)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.Image, "image", "", "image of the server (default "+services.RqliteImage+", of service "+services.RqliteServiceImage+")")
	f.IntVarP(&o.Voters, "voters", "n", 0, "how many vote: 1, 3 or 5 (default as many as do, else as many as there are nodes for)")
	f.StringVar(&mode, "discovery", "", strings.Join(modes, ", ")+" (default as it is, else dns)")
	f.StringVar(&o.Consul, "consul", "", "address of a Consul that is there, as nodes reach it")
	_ = c.RegisterFlagCompletionFunc("discovery", cobra.FixedCompletions(modes, cobra.ShellCompDirectiveNoFileComp))
	return clusterFlag(c, &o.Name)
}

func (s *skep) rqliteOpen() *cobra.Command {
	var local int
	var name string
	c := &cobra.Command{
		Use: "open ENV", Short: "Open a tunnel to rqlite, and a browser where there is one",
		Example: "  skep rqlite open dev\n  skep rqlite open --name orders dev",
		Args:    takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("port") {
				if err := services.CheckPort(local); err != nil {
					return err
				}
			}
			e, err := s.rqliteEnvironment(args[0], name)
			if err != nil {
				return err
			}
			page, err := s.executor(e).RqlitePage(c.Context(), name)
			e.Close()
			if err != nil {
				return err
			}
			t, err := s.openTunnel(c.Context(), args[0], page, services.RqlitePort, ports.Local{Port: local})
			if err != nil {
				return err
			}
			if err := s.printTunnels([]ports.Tunnel{t}); err != nil {
				return err
			}
			browse(c.Context(), fmt.Sprintf("http://localhost:%d", t.LocalPort))
			return nil
		},
	}
	c.Flags().IntVar(&local, "port", 0, "local port (default the environment's own)")
	return clusterFlag(c, &name)
}

func (s *skep) rqliteStatus() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "status ENV", Short: "Tell which servers of rqlite serve, by their own word; exit code 1 when not all do",
		Example: "  skep rqlite status dev --json",
		Args:    takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.rqliteEnvironment(args[0], name)
			if err != nil {
				return err
			}
			defer e.Close()
			status, err := s.executor(e).RqliteStatus(c.Context(), e.Name, name)
			if err != nil {
				return err
			}
			err = s.print(status, func(w io.Writer) {
				row(w, "SERVER", "NODE", "ADDRESS", "ROLE", "READY")
				for _, server := range status.Servers {
					row(w, server.Name, server.Node, server.Address, server.Role, server.Ready)
				}
			})
			if err == nil && !status.Ready {
				err = exitError{failed}
			}
			return err
		},
	}
	return clusterFlag(c, &name)
}

func (s *skep) rqliteRemove() *cobra.Command {
	var volumes, force bool
	var name string
	c := &cobra.Command{
		Use: "rm [--volumes] ENV", Short: "Remove rqlite; its data stays unless --volumes is given",
		Example: "  skep rqlite rm dev\n  skep rqlite rm --volumes dev\n  skep rqlite rm --name orders dev",
		Args:    takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.rqliteEnvironment(args[0], name)
			if err != nil {
				return err
			}
			defer e.Close()
			if volumes && !force {
				if err := s.confirm(c.Context(), e.Name, "removes all data of "+services.RqliteStack(name)+" on "+e.Name); err != nil {
					return err
				}
			}
			x := s.executor(e)
			if err := s.closeTunnels(c.Context(), e.Name, func(service string) bool { return services.OfRqlite(name, service) }); err != nil {
				return err
			}
			return x.RemoveRqlite(c.Context(), name, volumes)
		},
	}
	c.Flags().BoolVar(&volumes, "volumes", false, "remove the data on every node, too")
	c.Flags().BoolVarP(&force, "force", "f", false, "do not ask for the environment's name")
	return clusterFlag(c, &name)
}

func (s *skep) rqliteBackup() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "backup ENV FILE", Short: "Write a consistent copy of the database to a file, or - for stdout",
		Long: `Write a consistent copy of the database, as its leader has it, to a file: an
SQLite database, or of a server of --discovery service the statements that make
one. - is stdout.`,
		Example: "  skep rqlite backup dev dev.sqlite\n  skep rqlite backup dev -    # to stdout",
		Args:    takes(2, 2), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.rqliteEnvironment(args[0], name)
			if err != nil {
				return err
			}
			defer e.Close()
			if args[1] == "-" {
				return s.executor(e).BackupRqlite(c.Context(), name, s.Out)
			}
			return s.executor(e).BackupRqliteFile(c.Context(), name, args[1])
		},
	}
	return clusterFlag(c, &name)
}

func (s *skep) rqliteRestore() *cobra.Command {
	var force bool
	var name string
	c := &cobra.Command{
		Use: "restore [-f] ENV FILE", Short: "Replace all data of the cluster by that of a backup",
		Example: "  skep rqlite restore dev dev.sqlite",
		Args:    takes(2, 2), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.rqliteEnvironment(args[0], name)
			if err != nil {
				return err
			}
			defer e.Close()
			if !force {
				if err := s.confirm(c.Context(), e.Name, "replaces all data of "+services.RqliteStack(name)+" on "+e.Name); err != nil {
					return err
				}
			}
			return s.executor(e).RestoreRqlite(c.Context(), name, args[1])
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "do not ask for the environment's name")
	return clusterFlag(c, &name)
}

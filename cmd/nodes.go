package cmd

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"skep/nodes"
	"skep/providers"
	"skep/usage"

	"github.com/spf13/cobra"
)

func (s *skep) nodesCommand() *cobra.Command {
	return group("nodes", "The machines of an environment and the swarm on them",
		s.nodesCreate(), s.nodesList(), s.nodesPower("start", "Start the stopped machines of an environment", (*nodes.Environment).Start),
		s.nodesPower("stop", "Stop the machines of an environment; data and addresses stay", (*nodes.Environment).Stop),
		s.nodesSSH(), s.nodesRemove())
}

func (s *skep) nodesCreate() *cobra.Command {
	var o nodes.CreateOptions
	var options []string
	var yes, guarded, encrypt, plain bool
	c := &cobra.Command{
		Use: "create [flags] ENV", Short: "Create machines and form them into a swarm",
		Long: `Create machines and form them into a swarm, or add machines to one.

With neither -m nor -w a new environment gets one manager and two workers. What
an earlier create left half done is finished first. A create that fails takes
back what it made.

With -d ssh the machines are hosts that exist: the first --host is the manager,
unless -m says more. They are entered as OpenSSH would, and given back by rm. A
driver that is not skep's own is one that docker-machine, on PATH, knows.`,
		Example: `  skep nodes create dev                 # dev-manager-1, dev-worker-1, dev-worker-2
  skep nodes create -m 3 -w 2 tst
  skep nodes create -w 1 dev            # one more worker
  skep nodes create -m 1 -w 2 -d digitalocean --region ams3,sgp1,nyc3 tst
  skep nodes create -d ssh --host root@203.0.113.5 --host deploy@203.0.113.6:2222 prd
  skep nodes create -d virtualbox --driver-opt virtualbox-memory=2048 vm`,
		Args: takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			if asked := c.Flags().Changed("managers") || c.Flags().Changed("workers"); asked && o.Managers == 0 && o.Workers == 0 {
				return usage.Errorf("zero managers and zero workers make nothing")
			}
			if c.Flags().Changed("driver") && o.Driver == "" {
				return usage.Errorf("-d names a driver: docker, or one that docker-machine knows")
			}
			if c.Flags().Changed("firewall") && guarded && o.NoFirewall {
				return usage.Errorf("--firewall and --no-firewall are opposites: say one of them")
			}
			switch set := c.Flags().Changed; {
			case set("encrypt") && set("no-encrypt"):
				return usage.Errorf("--encrypt and --no-encrypt are opposites: say one of them")
			case set("encrypt"):
				o.Encrypt = &encrypt
			case set("no-encrypt"):
				encrypt = !plain
				o.Encrypt = &encrypt
			}
			o.NoFirewall = o.NoFirewall || !guarded
			if o.Options, err = driverOptions(options); err != nil {
				return err
			}
			o.Agree = func(ctx context.Context, specs []providers.Spec) error { return s.agree(ctx, e.Name, specs, yes) }
			defer e.Close()
			return e.Create(c.Context(), o)
		},
	}
	f := c.Flags()
	f.IntVarP(&o.Managers, "managers", "m", 0, "how many managers to add")
	f.IntVarP(&o.Workers, "workers", "w", 0, "how many workers to add")
	f.StringVarP(&o.Driver, "driver", "d", "", "what makes the machines: docker, digitalocean, ssh, or any that docker-machine knows (default the environment's, else docker)")
	f.StringSliceVar(&o.Regions, "region", nil, "regions to spread the machines over, in turn")
	f.StringVar(&o.Size, "size", "", "size of the machines (default the driver's own)")
	f.StringSliceVarP(&o.Hosts, "host", "H", nil, "hosts that exist, USER@ADDRESS[:PORT], for -d ssh")
	f.BoolVar(&o.Install, "install", false, "install the distribution's own Docker Engine on hosts that have none")
	f.StringArrayVar(&options, "driver-opt", nil, "what only the driver knows, KEY=VALUE")
	f.BoolVar(&o.Private, "private", false, "let the nodes reach each other at their private addresses")
	f.BoolVarP(&guarded, "firewall", "F", true, "let in SSH, the other nodes and published ports only, on machines that are not on this computer")
	f.BoolVar(&o.NoFirewall, "no-firewall", false, "leave the machines without a firewall of skep's")
	f.BoolVar(&encrypt, "encrypt", false, "encrypt overlay networks (default where every machine elsewhere has ESP in its kernel)")
	f.BoolVar(&plain, "no-encrypt", false, "do not encrypt overlay networks")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask before making machines that cost something")
	f.BoolVarP(&yes, "force", "f", false, "the same as --yes")
	f.StringVar(&o.Image, "image", "", "image of the machines (default the driver's own)")
	f.BoolVar(&o.Keep, "keep", false, "keep what a failed create made")
	return c
}

func (s *skep) nodesList() *cobra.Command {
	return &cobra.Command{
		Use: "ls [ENV]", Short: "List machines and what their swarm says of them",
		Example: "  skep nodes ls\n  skep nodes ls dev --json",
		Args:    takes(0, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			found, err := s.listNodes(c, args)
			if err != nil {
				return err
			}
			return s.print(found, func(w io.Writer) {
				row(w, "ENV", "NODE", "ROLE", "DRIVER", "REGION", "SIZE", "ADDRESS", "STATUS", "SWARM", "LEADER", "ENGINE", "$/H", "$/MONTH", "AGE")
				for _, n := range found {
					leader := ""
					if n.Leader {
						leader = "leader"
					}
					row(w, n.Env, n.Name, n.Role, n.Driver, n.Region, n.Size, n.Address, n.Status, n.Swarm, leader, n.Engine,
						fmt.Sprintf("%.4f", n.HourlyUSD), fmt.Sprintf("%.2f", nodes.Monthly(n.HourlyUSD)), time.Since(n.Created).Round(time.Second))
				}
			})
		},
	}
}

func (s *skep) listNodes(c *cobra.Command, args []string) ([]nodes.Node, error) {
	if len(args) == 0 {
		return nodes.ListAll(c.Context(), s.drivers(), s.log(), s.open)
	}
	e, err := s.environment(args[0])
	if err != nil {
		return nil, err
	}
	defer e.Close()
	return e.List(c.Context())
}

func (s *skep) nodesPower(verb, short string, do func(*nodes.Environment, context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ENV", Short: short, Example: "  skep nodes " + verb + " dev",
		Args: takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			return do(e, c.Context())
		},
	}
}

func (s *skep) nodesSSH() *cobra.Command {
	return &cobra.Command{
		Use: "ssh ENV [NODE] [-- COMMAND…]", Short: "Open a shell on a node, or run a command there",
		Example: `  skep nodes ssh dev                    # the first manager
  skep nodes ssh dev dev-worker-1 -- docker ps`,
		Args: func(c *cobra.Command, args []string) error {
			before, _ := splitAtDash(c, args)
			return takes(1, 2)(c, before)
		},
		ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			before, command := splitAtDash(c, args)
			node := ""
			if len(before) > 1 {
				node = before[1]
			}
			e, err := s.environment(before[0])
			if err != nil {
				return err
			}
			defer e.Close()
			code, err := e.Shell(c.Context(), node, strings.Join(command, " "), s.In, s.Out, s.Err)
			if err == nil && code != done {
				err = exitError{code}
			}
			return err
		},
	}
}

// splitAtDash splits arguments at the --, after which a command's own words come.
func splitAtDash(c *cobra.Command, args []string) (before, after []string) {
	if n := c.ArgsLenAtDash(); n >= 0 {
		return args[:n], args[n:]
	}
	return args, nil
}

func (s *skep) nodesRemove() *cobra.Command {
	var force, loseData bool
	c := &cobra.Command{
		Use: "rm [-f] ENV [NODE…]", Short: "Remove an environment, or single nodes of it",
		Long: `Remove an environment with all that belongs to it, once its name is typed (or
with -f), and verify that nothing is left.

With nodes named, take those out of the swarm and delete their machines. Refused
are steps that cost the managers their quorum, and, without --yes-lose-data, nodes
that hold data of a stack.

Hosts that exist are given back as they were. One that does not answer keeps the
removal from being done, until it answers or --yes-lose-data forgets it.`,
		Example: `  skep nodes rm dev
  skep nodes rm -f dev
  skep nodes rm dev dev-worker-2`,
		Args: takes(1, -1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			if len(args) > 1 {
				return e.Remove(c.Context(), args[1:], loseData, s.executor(e).Retire)
			}
			if !force {
				if err := s.confirm(c.Context(), e.Name, "removes all machines of "+e.Name+" and all data on them"); err != nil {
					return err
				}
			}
			return s.remove(c.Context(), e.Name, nil, func(ctx context.Context) error { return e.RemoveAll(ctx, loseData) })
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "do not ask for the environment's name")
	c.Flags().BoolVar(&loseData, "yes-lose-data", false, "remove nodes that hold data of a stack, too, and forget hosts that do not answer")
	return c
}

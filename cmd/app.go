package cmd

import (
	"context"
	"fmt"
	"io"

	"skep/ports"
	"skep/services"

	"github.com/spf13/cobra"
)

func (s *skep) appCommand() *cobra.Command {
	return group("app", "Apps on an environment", s.appDeploy(), s.appRemove())
}

func (s *skep) appDeploy() *cobra.Command {
	o := services.AppOptions{}
	var tunnelled []int
	c := &cobra.Command{
		Use: "deploy [flags] NAME IMAGE ENV", Short: "Deploy an app, or bring it to a new image, variables or scale",
		Long: `Deploy an app as a service of the environment's swarm, or update it, and wait
until it serves. An image of this computer's engine is sent to the nodes.`,
		Example: `  skep app deploy -t 9090 -r 6 hello hello:0.1 dev
  skep app deploy -e GREETING=Hi -p 80 hello hello:0.1 dev`,
		Args: takes(3, 3),
		RunE: func(c *cobra.Command, args []string) error {
			o.Name, o.Image = args[0], args[1]
			e, err := s.environment(args[2])
			if err != nil {
				return err
			}
			defer e.Close()
			for _, p := range tunnelled {
				if err := services.CheckPort(p); err != nil {
					return err
				}
			}
			x := s.executor(e)
			addresses, err := x.DeployApp(c.Context(), o)
			if err != nil {
				return err
			}
			var opened []ports.Tunnel
			for _, p := range tunnelled {
				t, err := s.openTunnel(c.Context(), e.Name, o.Name, p, ports.Local{})
				if err != nil {
					return err
				}
				opened = append(opened, t)
			}
			return s.printApp(addresses, opened)
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&o.Env, "env", "e", nil, "variable NAME=VALUE")
	f.StringVarP(&o.Network, "network", "n", "", "overlay network (default dbnet where it exists)")
	f.IntSliceVarP(&o.Publish, "publish", "p", nil, "port that the nodes answer on")
	f.IntSliceVarP(&tunnelled, "tunnel", "t", nil, "port to open a tunnel to")
	f.IntVarP(&o.Replicas, "replicas", "r", 0, "how many tasks (default as many as there are, else 1)")
	return c
}

// printApp tells where the app answers.
func (s *skep) printApp(addresses []string, opened []ports.Tunnel) error {
	result := struct {
		Addresses []string       `json:"addresses"`
		Tunnels   []ports.Tunnel `json:"tunnels"`
	}{append([]string{}, addresses...), append([]ports.Tunnel{}, opened...)}
	return s.print(result, func(w io.Writer) {
		for _, a := range addresses {
			_, _ = fmt.Fprintln(w, a)
		}
		for _, t := range opened {
			_, _ = fmt.Fprintln(w, t)
		}
	})
}

func (s *skep) appRemove() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME ENV", Short: "Remove an app; volumes stay", Example: "  skep app rm hello dev",
		Args: takes(2, 2),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[1])
			if err != nil {
				return err
			}
			defer e.Close()
			of := func(service string) bool { return service == args[0] }
			return s.remove(c.Context(), e.Name, of, func(ctx context.Context) error {
				return s.executor(e).Remove(ctx, services.AppStack(args[0]), false)
			})
		},
	}
}

package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"skep/nodes"
	"skep/ports"
	"skep/relay"

	"github.com/spf13/cobra"
)

func (s *skep) tunnelSocks() *cobra.Command {
	var local ports.Local
	var file string
	c := &cobra.Command{
		Use: "socks ENV", Short: "Open a SOCKS5 proxy into an environment's networks",
		Long: `Open a SOCKS5 proxy that resolves the names of an environment's services and
tasks on its overlay networks and connects to any port of them. Tell browsers
and clients to resolve names through it:

  curl -x socks5h://localhost:1080 http://db0:8080

A small relay runs in the environment for it, which is removed with the tunnel.`,
		Example: "  skep tunnel socks dev",
		Args:    takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			local, err := checkTunnel(args[0], local)
			if err != nil {
				return err
			}
			if file == "" {
				if file, err = os.Executable(); err != nil {
					return fmt.Errorf("find skep's own file: %w", err)
				}
			}
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			if err := relay.Deploy(c.Context(), e, file, s.log()); err != nil {
				return fmt.Errorf("run the relay in %s: %w", e.Name, err)
			}
			t, err := s.openTunnel(c.Context(), e.Name, relay.Service, relay.Port, local)
			if err != nil {
				return err
			}
			return s.printTunnels([]ports.Tunnel{t})
		},
	}
	c.Flags().IntVar(&local.Port, "port", 0, "local port (default the environment's own)")
	c.Flags().StringVar(&local.Bind, "bind", "", "address to listen on instead of 127.0.0.1 and ::1; others reach it, too")
	c.Flags().StringVar(&file, "relay", "", "a skep built for Linux on the nodes' architecture (default this one)")
	return c
}

// removeRelay removes the relay when the tunnel to it was closed, or named to be.
func (s *skep) removeRelay(ctx context.Context, env, named string, closed []ports.Tunnel) error {
	if named != relay.Service && !slices.ContainsFunc(closed, func(t ports.Tunnel) bool { return t.Service == relay.Service }) {
		return nil
	}
	e, err := s.environment(env)
	if err != nil {
		return err
	}
	defer e.Close()
	if err := relay.Remove(ctx, e); !errors.Is(err, nodes.ErrNoEnvironment) {
		return err
	}
	return nil
}

// relayCommand is what the relay's tasks run.
func (s *skep) relayCommand() *cobra.Command {
	return &cobra.Command{
		Use: "relay", Short: "Relay connections inside an environment (started by tunnel socks)", Hidden: true,
		Args: takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error { return relay.Run(c.Context(), s.log()) },
	}
}

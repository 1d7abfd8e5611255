package cmd

import (
	"context"
	"io"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"skep/nodes"
	"skep/ports"
	"skep/services"
	"skep/swarm"
	"skep/usage"

	"github.com/spf13/cobra"
)

func (s *skep) tunnelCommand() *cobra.Command {
	return group("tunnel", "Local ports that reach services of an environment",
		s.tunnelOpen(), s.tunnelList(), s.tunnelClose(), s.tunnelServe())
}

func (s *skep) tunnelOpen() *cobra.Command {
	var local int
	c := &cobra.Command{
		Use: "open ENV SERVICE:PORT", Short: "Open a tunnel that outlives this command",
		Example: "  skep tunnel open dev rqlite:4001",
		Args:    takes(2, 2), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			service, port, err := target(args[1])
			if err != nil {
				return err
			}
			t, err := s.openTunnel(c.Context(), args[0], service, port, local)
			if err != nil {
				return err
			}
			return s.printTunnels([]ports.Tunnel{t})
		},
	}
	c.Flags().IntVar(&local, "port", 0, "local port (default the environment's own)")
	return c
}

func (s *skep) openTunnel(ctx context.Context, env, service string, port, local int) (ports.Tunnel, error) {
	if err := nodes.CheckName(env); err != nil {
		return ports.Tunnel{}, err
	}
	if local != 0 {
		if err := services.CheckPort(local); err != nil {
			return ports.Tunnel{}, err
		}
	}
	tunnels, err := s.tunnels()
	if err != nil {
		return ports.Tunnel{}, err
	}
	return tunnels.Open(ctx, env, service, port, local)
}

func (s *skep) printTunnels(all []ports.Tunnel) error {
	return s.print(all, func(w io.Writer) {
		for _, t := range all {
			row(w, t.String())
		}
	})
}

// target splits SERVICE:PORT.
func target(text string) (string, int, error) {
	service, port, ok := strings.Cut(text, ":")
	n, err := strconv.Atoi(port)
	if !ok || service == "" || err != nil {
		return "", 0, usage.Errorf("%q is not SERVICE:PORT", text)
	}
	return service, n, services.CheckPort(n)
}

func (s *skep) tunnelList() *cobra.Command {
	return &cobra.Command{
		Use: "ls [ENV]", Short: "List tunnels", Example: "  skep tunnel ls",
		Args: takes(0, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			env := strings.Join(args, "")
			if len(args) > 0 {
				if err := nodes.CheckName(env); err != nil {
					return err
				}
			}
			tunnels, err := s.tunnels()
			if err != nil {
				return err
			}
			all, err := tunnels.List(c.Context(), env)
			if err != nil {
				return err
			}
			return s.print(all, func(w io.Writer) {
				row(w, "ENV", "SERVICE", "LOCAL", "PID", "ALIVE")
				for _, t := range all {
					row(w, t.Env, t.Service+":"+strconv.Itoa(t.RemotePort), "localhost:"+strconv.Itoa(t.LocalPort), t.PID, t.Alive)
				}
			})
		},
	}
}

func (s *skep) tunnelClose() *cobra.Command {
	return &cobra.Command{
		Use: "close ENV [SERVICE:PORT]", Short: "Close a tunnel, or all of an environment",
		Example: "  skep tunnel close dev rqlite:4001\n  skep tunnel close dev",
		Args:    takes(1, 2), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			if err := nodes.CheckName(args[0]); err != nil {
				return err
			}
			service, port := "", 0
			if len(args) > 1 {
				var err error
				if service, port, err = target(args[1]); err != nil {
					return err
				}
			}
			tunnels, err := s.tunnels()
			if err != nil {
				return err
			}
			closed, err := tunnels.Close(c.Context(), args[0], service, port)
			if err != nil {
				return err
			}
			for _, t := range closed {
				s.log().Info("closed " + t.String())
			}
			return nil
		},
	}
}

// tunnelServe is the background process that holds an environment's tunnels.
func (s *skep) tunnelServe() *cobra.Command {
	return &cobra.Command{
		Use: "serve ENV", Short: "Hold an environment's tunnels (started by the other commands)", Hidden: true,
		Args: takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			return ports.Serve(c.Context(), s.home, e.Name, swarm.Dialer{Fleet: e}, s.log())
		},
	}
}

// browse opens a page where there is a desktop; elsewhere the printed address
// is what the user has.
func browse(ctx context.Context, url string) {
	opener := map[string]string{"darwin": "open", "windows": "explorer"}[runtime.GOOS]
	if opener == "" {
		opener = "xdg-open"
	}
	path, err := exec.LookPath(opener)
	if err != nil {
		return
	}
	// #nosec G204 -- the address is ours
	_ = exec.CommandContext(context.WithoutCancel(ctx), path, url).Start()
}

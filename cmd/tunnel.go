package cmd

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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
		s.tunnelOpen(), s.tunnelSocks(), s.tunnelList(), s.tunnelClose(), s.tunnelServe())
}

func (s *skep) tunnelOpen() *cobra.Command {
	var local ports.Local
	var foreground bool
	c := &cobra.Command{
		Use: "open ENV SERVICE:PORT", Short: "Open a tunnel that outlives this command",
		Long: `Open a tunnel: a port of this computer that reaches a service of an environment
for as long as there is one. It follows the service from task to task and from
node to node, and connects again by itself after sleep or a change of network.`,
		Example: `  skep tunnel open dev rqlite:4001
  skep tunnel open --port 8080 dev db0:8080
  skep tunnel open --socket /tmp/pg.sock dev postgres:5432
  skep tunnel open --foreground dev rqlite:4001`,
		Args: takes(2, 2), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			service, port, err := target(args[1])
			if err != nil {
				return err
			}
			if foreground {
				return s.foregroundTunnel(c.Context(), args[0], service, port, local)
			}
			t, err := s.openTunnel(c.Context(), args[0], service, port, local)
			if err != nil {
				return err
			}
			return s.printTunnels([]ports.Tunnel{t})
		},
	}
	c.Flags().IntVar(&local.Port, "port", 0, "local port (default the environment's own)")
	c.Flags().StringVar(&local.Bind, "bind", "", "address to listen on instead of 127.0.0.1 and ::1; others reach it, too")
	c.Flags().StringVar(&local.Socket, "socket", "", "path of a unix socket to listen on instead of a port")
	c.Flags().BoolVar(&foreground, "foreground", false, "hold the tunnel in this command, until Ctrl-C")
	c.MarkFlagsMutuallyExclusive("socket", "port")
	c.MarkFlagsMutuallyExclusive("socket", "bind")
	return c
}

func (s *skep) openTunnel(ctx context.Context, env, service string, port int, local ports.Local) (ports.Tunnel, error) {
	local, err := checkTunnel(env, local)
	if err != nil {
		return ports.Tunnel{}, err
	}
	tunnels, err := s.tunnels()
	if err != nil {
		return ports.Tunnel{}, err
	}
	return tunnels.Open(ctx, env, service, port, local)
}

// checkTunnel refuses what no tunnel can have, and makes the path of a socket
// one that the background process understands.
func checkTunnel(env string, local ports.Local) (ports.Local, error) {
	if err := nodes.CheckName(env); err != nil {
		return local, err
	}
	if local.Port != 0 {
		if err := services.CheckPort(local.Port); err != nil {
			return local, err
		}
	}
	if local.Bind != "" && net.ParseIP(local.Bind) == nil {
		return local, usage.Errorf("--bind %s is no IP address", local.Bind)
	}
	if local.Socket != "" {
		path, err := filepath.Abs(local.Socket)
		if err != nil {
			return local, err
		}
		local.Socket = path
	}
	return local, nil
}

// foregroundTunnel holds a tunnel until the context ends.
func (s *skep) foregroundTunnel(ctx context.Context, env, service string, port int, local ports.Local) error {
	local, err := checkTunnel(env, local)
	if err != nil {
		return err
	}
	e, err := s.environment(env)
	if err != nil {
		return err
	}
	defer e.Close()
	follower := swarm.Follow(ctx, e, s.log())
	defer follower.Close()
	err = ports.Hold(ctx, s.home, ports.Tunnel{
		Env: env, Service: service, RemotePort: port, LocalPort: local.Port, Bind: local.Bind, Socket: local.Socket,
	}, follower, s.log(), func(t ports.Tunnel) error { return s.printTunnels([]ports.Tunnel{t}) })
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
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
	if name, isUDP := strings.CutSuffix(strings.ToLower(text), "/udp"); isUDP {
		return "", 0, usage.Errorf("%s is UDP, and a tunnel carries TCP only: SSH forwards nothing else", name)
	}
	text = strings.TrimSuffix(text, "/tcp")
	service, port, ok := strings.Cut(text, ":")
	n, err := strconv.Atoi(port)
	if !ok || service == "" || err != nil {
		return "", 0, usage.Errorf("%q is not SERVICE:PORT", text)
	}
	return service, n, services.CheckPort(n)
}

func (s *skep) tunnelList() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use: "ls [ENV]", Short: "List tunnels", Example: "  skep tunnel ls\n  skep tunnel ls --check dev",
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
			look := tunnels.List
			if check {
				look = tunnels.Check
			}
			all, err := look(c.Context(), env)
			if err != nil {
				return err
			}
			if err := s.print(all, func(w io.Writer) { tunnelRows(w, all, check) }); err != nil {
				return err
			}
			for _, t := range all {
				if check && !t.Alive {
					return exitError{failed}
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "reach each service over its tunnel; exit code 1 where one does not answer")
	return c
}

func tunnelRows(w io.Writer, all []ports.Tunnel, check bool) {
	head := []any{"ENV", "SERVICE", "LOCAL", "PID", "ALIVE"}
	if check {
		head = append(head, "LATENCY", "CONNECTIONS", "SENT", "RECEIVED", "ERROR")
	}
	row(w, head...)
	for _, t := range all {
		cells := []any{t.Env, t.Service + ":" + strconv.Itoa(t.RemotePort), t.Local(), t.PID, t.Alive}
		if check {
			latency := ""
			if t.Alive {
				latency = fmt.Sprintf("%.1f ms", t.LatencyMS)
			}
			cells = append(cells, latency, fmt.Sprintf("%d of %d", t.Connections, t.Total), t.Sent, t.Received, strings.ReplaceAll(t.Error, "\n", "; "))
		}
		row(w, cells...)
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
			return s.removeRelay(c.Context(), args[0], service, closed)
		},
	}
}

// tunnelServe is the background process that holds an environment's tunnels,
// and with --supervise the one that starts it again when it is killed.
func (s *skep) tunnelServe() *cobra.Command {
	var supervise bool
	c := &cobra.Command{
		Use: "serve ENV", Short: "Hold an environment's tunnels (started by the other commands)", Hidden: true,
		Args: takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			if supervise {
				self, err := os.Executable()
				if err != nil {
					return fmt.Errorf("find skep's own file: %w", err)
				}
				return ports.Supervise(c.Context(), s.home, e.Name, []string{self, "tunnel", "serve", e.Name}, s.log())
			}
			defer e.Close()
			defer paced(c.Context())()
			follower := swarm.Follow(c.Context(), e, s.log())
			defer follower.Close()
			return ports.Serve(c.Context(), s.home, e.Name, follower, s.log())
		},
	}
	c.Flags().BoolVar(&supervise, "supervise", false, "run another one and start it again when it is killed")
	return c
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

package cmd

import (
	"context"
	"fmt"
	"io"
	"strings"

	"skep/ports"
	"skep/services"

	"github.com/spf13/cobra"
)

func (s *skep) appCommand() *cobra.Command {
	return group("app", "Apps on an environment",
		s.appBuild(), s.appDeploy(), s.appList(), s.appTasks(), s.appLogs(), s.appScale(), s.appRollback(), s.appRemove())
}

// appFlags are those of deploy as they are typed.
type appFlags struct {
	services.AppOptions
	publish, mounts, secrets, placements []string
	envFile, memory, health              string
	tunnelled                            []int
}

func (s *skep) appDeploy() *cobra.Command {
	var o appFlags
	var file string
	c := &cobra.Command{
		Use: "deploy [flags] {NAME IMAGE | -f FILE [NAME]} ENV", Short: "Deploy an app, or bring it to a new image, variables or scale",
		Long: `Deploy an app as a service of the environment's swarm, or update it, and wait
until it serves. An image of this computer's engine is sent to the nodes.

An update goes task by task, the new one first, and is taken back when it fails:
then the exit code is 1 and the last lines that the failing task wrote are shown.
Every app has the volume appdata of its node in /appdata.

What is deployed is what is given, nothing else: a port or a variable that the
last deploy gave and this one does not is gone. The number of tasks alone stays.

With -f a compose file is deployed: its services are called NAME_SERVICE, its
secrets and configs are made of files, its images sent as any other. What a swarm
cannot do is refused.`,
		Example: `  skep app deploy -t 9090 -r 6 hello hello:0.1 dev
  skep app deploy -e GREETING=Hi -p 80:9090 hello hello:0.1 dev
  skep app deploy --health http://:9090/healthz --placement spread=region hello hello:0.1 dev
  skep app deploy -f compose.yml shop dev`,
		Args: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("file") {
				return takes(1, 2)(c, args)
			}
			return takes(3, 3)(c, args)
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 2 || c.Flags().Changed("file") && len(args) < 2 {
				return s.environments(c)
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("file") {
				return s.deployFile(c, file, args)
			}
			o.Name, o.Image = args[0], args[1]
			e, err := s.environment(args[2])
			if err != nil {
				return err
			}
			defer e.Close()
			if err := o.parse(); err != nil {
				return err
			}
			done, err := s.executor(e).DeployApp(c.Context(), o.AppOptions, o.health)
			if err != nil {
				return err
			}
			var opened []ports.Tunnel
			for _, p := range o.tunnelled {
				t, err := s.openTunnel(c.Context(), e.Name, o.Name, p, ports.Local{})
				if err != nil {
					return err
				}
				opened = append(opened, t)
			}
			return s.printApp(done, opened)
		},
	}
	f := c.Flags()
	f.StringVarP(&file, "file", "f", "", "compose file to deploy, which says all the rest")
	f.StringArrayVarP(&o.Env, "env", "e", nil, "variable NAME=VALUE")
	f.StringVar(&o.envFile, "env-file", "", "file of variables, NAME=VALUE a line; -e wins over it")
	f.StringVarP(&o.Network, "network", "n", "", "overlay network (default dbnet where it exists)")
	f.StringSliceVarP(&o.publish, "publish", "p", nil, "[PUBLISHED:]PORT[/udp] that the nodes answer on")
	f.IntSliceVarP(&o.tunnelled, "tunnel", "t", nil, "port to open a tunnel to")
	f.IntVarP(&o.Replicas, "replicas", "r", 0, "how many tasks (default as many as there are, else 1)")
	f.StringArrayVar(&o.mounts, "mount", nil, "VOLUME:/PLACE or /FOLDER:/PLACE, with :ro to read only")
	f.StringArrayVar(&o.secrets, "secret", nil, "NAME[:FILE] of a secret of the swarm, in /run/secrets")
	f.StringVar(&o.memory, "limit-memory", "", "most memory of a task, such as 256m")
	f.StringVar(&o.health, "health", "", "command, or URL asked inside the container, that fails until the task serves")
	f.StringArrayVar(&o.placements, "placement", nil, "spread=region, spread=LABEL, or a constraint such as node.role==worker")
	return c
}

// parse reads what was typed.
func (o *appFlags) parse() error {
	for _, p := range o.tunnelled {
		if err := services.CheckPort(p); err != nil {
			return err
		}
	}
	for _, text := range o.publish {
		p, err := services.ParsePort(text)
		if err != nil {
			return err
		}
		o.Publish = append(o.Publish, p)
	}
	for _, text := range o.mounts {
		m, err := services.ParseMount(text)
		if err != nil {
			return err
		}
		o.Mounts = append(o.Mounts, m)
	}
	for _, text := range o.secrets {
		secret, err := services.ParseSecret(text)
		if err != nil {
			return err
		}
		o.Secrets = append(o.Secrets, secret)
	}
	for _, text := range o.placements {
		if err := o.Placement.ParsePlacement(text); err != nil {
			return err
		}
	}
	if o.memory != "" {
		var err error
		if o.Memory, err = services.ParseMemory(o.memory); err != nil {
			return err
		}
	}
	if o.health != "" {
		if _, err := services.ParseHealth(o.health, ""); err != nil {
			return err
		}
	}
	if o.envFile != "" {
		more, err := services.ReadEnvFile(o.envFile)
		if err != nil {
			return err
		}
		o.Env = services.MergeEnv(more, o.Env)
	}
	return o.Check()
}

// printApp tells where the app answers.
func (s *skep) printApp(done services.Deployed, opened []ports.Tunnel) error {
	result := struct {
		Change    string         `json:"change"` // created, updated or unchanged
		Addresses []string       `json:"addresses"`
		Tunnels   []ports.Tunnel `json:"tunnels"`
	}{string(done.Change), append([]string{}, done.Addresses...), append([]ports.Tunnel{}, opened...)}
	return s.print(result, func(w io.Writer) {
		for _, a := range done.Addresses {
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
		Args: takes(2, 2), ValidArgsFunction: s.completeEnvAfter(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[1])
			if err != nil {
				return err
			}
			defer e.Close()
			of := func(service string) bool { // of a compose file: NAME_SERVICE
				return service == args[0] || strings.HasPrefix(service, args[0]+"_")
			}
			return s.remove(c.Context(), e.Name, of, func(ctx context.Context) error {
				return s.executor(e).Remove(ctx, services.AppStack(args[0]), false)
			})
		},
	}
}

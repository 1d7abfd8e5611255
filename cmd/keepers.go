package cmd

import (
	"context"
	"regexp"

	"skep/nodes"
	"skep/services"

	"github.com/spf13/cobra"
)

// rqliteEnvironment opens an environment for one of its clusters, whose name it
// checks.
func (s *skep) rqliteEnvironment(env, name string) (*nodes.Environment, error) {
	if err := services.CheckRqliteName(name); err != nil {
		return nil, err
	}
	return s.environment(env)
}

// etcdCommand and the ones below are of services by which others find each
// other.
func (s *skep) etcdCommand() *cobra.Command {
	d := database{
		name: "etcd", title: "etcd", image: services.EtcdImage, services: regexp.MustCompile(`^etcd[0-9]+$`), page: "etcd1", port: services.EtcdPort, alive: "/health",
		stack: func(ctx context.Context, x services.Executor, image string) (services.Stack, error) {
			return x.Etcd(ctx, image)
		},
	}
	return group(d.name, "etcd: three members, or one on fewer nodes", s.databaseCreate(d), s.databaseOpen(d), s.databaseStatus(d), s.databaseRemove(d))
}

func (s *skep) consulCommand() *cobra.Command {
	d := database{
		name: "consul", title: "Consul", image: services.ConsulImage, services: regexp.MustCompile(`^consul$`), page: "consul", port: services.ConsulPort, alive: services.ConsulAlive,
		stack: func(_ context.Context, _ services.Executor, image string) (services.Stack, error) {
			return services.Consul(image), nil
		},
	}
	return group(d.name, "Consul: one server, for keys", s.databaseCreate(d), s.databaseOpen(d), s.databaseStatus(d), s.databaseRemove(d))
}

func (s *skep) discoveryStack() []*cobra.Command {
	d := database{
		name: "discovery", title: "discovery", services: regexp.MustCompile(`^discovery$`), page: "discovery", port: services.DiscoveryPort, alive: "/healthz",
		stack: func(context.Context, services.Executor, string) (services.Stack, error) {
			return services.Discovery(), nil
		},
	}
	return []*cobra.Command{s.databaseCreate(d), s.databaseOpen(d), s.databaseStatus(d), s.databaseRemove(d)}
}

package cmd

import (
	"context"
	"regexp"

	"skep/services"

	"github.com/spf13/cobra"
)

func (s *skep) crateCommand() *cobra.Command {
	d := database{
		name: "crate", title: "CrateDB", image: services.CrateImage, services: regexp.MustCompile(`^crate$`), page: "crate", port: services.CratePort, alive: "/",
		stack: func(ctx context.Context, x services.Executor, image string) (services.Stack, error) {
			return x.Crate(ctx, image)
		},
		status: func(ctx context.Context, x services.Executor, env string) (services.Status, error) {
			return x.CrateStatus(ctx, env)
		},
	}
	create := s.databaseCreate(d)
	create.Long += `

A server runs on every node. How many there are decides when they recover their
data: run it again after nodes were added or removed. vm.max_map_count is raised
on every node, now and for the next boot; local nodes share this computer's
kernel, and so it is raised there.`
	return group(d.name, "CrateDB: a server on every node", create, s.databaseOpen(d), s.databaseStatus(d), s.databaseRemove(d))
}

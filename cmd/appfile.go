package cmd

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"skep/compose"
	"skep/usage"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// deployFile deploys a compose file: [NAME] ENV.
func (s *skep) deployFile(c *cobra.Command, file string, args []string) error {
	var other string
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && f.Name != "file" && c.InheritedFlags().Lookup(f.Name) == nil {
			other = cmp.Or(other, f.Name)
		}
	})
	if other != "" {
		return usage.Errorf("--%s and -f exclude each other: the file says all of it", other)
	}
	name := ""
	if len(args) == 2 {
		name = args[0]
	}
	e, err := s.environment(args[len(args)-1])
	if err != nil {
		return err
	}
	defer e.Close()
	stack, err := compose.Load(c.Context(), file, name)
	if err != nil {
		return err
	}
	changes, err := s.executor(e).DeployFile(c.Context(), stack)
	if err != nil {
		return err
	}
	return s.print(map[string]any{"app": stack.Name, "services": changes}, func(w io.Writer) {
		for _, service := range slices.Sorted(maps.Keys(changes)) {
			_, _ = fmt.Fprintln(w, service)
		}
	})
}

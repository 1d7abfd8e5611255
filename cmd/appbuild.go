package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"skep/images"
	"skep/nodes"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
)

func (s *skep) appBuild() *cobra.Command {
	var o images.Options
	c := &cobra.Command{
		Use: "build [flags] SOURCEDIR IMAGE [ENV]", Short: "Build an image of a Go program, with no Docker engine",
		Long: `Build an image of the Go program in SOURCEDIR: a static binary on nothing but CA
certificates and a user that is not root. The same source at the same commit makes
the same digest. Nothing is left in SOURCEDIR. In a git checkout main.version is
set to what git describe says, and the image has it as a label.

Without ENV the image is pushed to the registry that IMAGE names, with your docker
credentials. With ENV it is sent straight to the environment's nodes, built for
what they are, and no registry is needed.`,
		Example: `  skep app build ./cmd/hello hello:0.2 dev     # then: skep app deploy hello hello:0.2 dev
  skep app build --platform linux/amd64,linux/arm64 -p 9090 . registry.example.com/hello:0.2
  skep app build -e GREETING=Hi -a config.json:/etc/hello.json -A HEAD:public . hello:0.2 dev`,
		Args: takes(2, 3),
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			switch len(args) {
			case 0:
				return nil, cobra.ShellCompDirectiveFilterDirs
			case 2:
				return s.environments(c)
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.Source = args[0]
			if err := images.CheckName(args[1]); err != nil {
				return err
			}
			if err := o.Check(); err != nil {
				return err
			}
			work, err := os.MkdirTemp("", "skep-build-*")
			if err != nil {
				return fmt.Errorf("make a folder to build in: %w", err)
			}
			defer func() { _ = os.RemoveAll(work) }()
			o.Work, o.Cache, o.Log = work, s.home.Cache(), s.log()
			if len(args) == 3 {
				return s.buildTo(c.Context(), o, args[1], args[2])
			}
			built, err := images.Build(c.Context(), o)
			if err != nil {
				return err
			}
			pushed, err := images.Push(c.Context(), args[1], built)
			if err != nil {
				return err
			}
			return s.printBuilt(built, pushed, nil)
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&o.Env, "env", "e", nil, "variable NAME=VALUE in the image")
	f.StringSliceVarP(&o.Ports, "port", "p", nil, "port that the program listens on")
	f.StringArrayVarP(&o.Files, "add", "a", nil, "FILE, which comes into the image's root, or FILE:/PLACE")
	f.StringVarP(&o.Tree, "tree", "A", "", "git tree-ish of SOURCEDIR, such as HEAD:public, whose files come into the image's root")
	f.StringSliceVar(&o.Platforms, "platform", nil, "platforms to build for (default those of the nodes, else this computer's)")
	f.StringVar(&o.Base, "base", "", "image to begin with, for its users and certificates, too (default none)")
	f.BoolVar(&o.Format, "fmt", false, "mend the format of the source")
	return c
}

// buildTo builds for the nodes of an environment and sends the image there.
func (s *skep) buildTo(ctx context.Context, o images.Options, image, env string) error {
	e, err := s.environment(env)
	if err != nil {
		return err
	}
	defer e.Close()
	if len(o.Platforms) == 0 {
		if o.Platforms, err = s.platforms(ctx, e); err != nil {
			return err
		}
	}
	built, err := images.Build(ctx, o)
	if err != nil {
		return err
	}
	ids, err := s.executor(e).SendBuilt(ctx, image, built)
	if err != nil {
		return err
	}
	return s.printBuilt(built, image, ids)
}

func (s *skep) platforms(ctx context.Context, e *nodes.Environment) ([]string, error) {
	found, err := s.executor(e).Architectures(ctx)
	var all []string
	for _, arch := range found {
		all = append(all, "linux/"+arch)
	}
	slices.Sort(all)
	return slices.Compact(all), err
}

// printBuilt tells what was built: on stdout the name that it can be had by.
func (s *skep) printBuilt(built images.Built, name string, ids map[string]string) error {
	type platform struct {
		Platform string `json:"platform"`
		Digest   string `json:"digest"`
		ID       string `json:"id,omitempty"` // on the nodes that it was sent to
		Bytes    int64  `json:"bytes"`        // of its layers, compressed
	}
	result := struct {
		Image     string     `json:"image"`
		Digest    string     `json:"digest"`
		Version   string     `json:"version"`
		Platforms []platform `json:"platforms"`
	}{Image: name, Version: built.Version}
	digest, err := built.Digest()
	if err != nil {
		return err
	}
	result.Digest = digest.String()
	for _, image := range built.Images {
		digest, err := image.Digest()
		if err != nil {
			return err
		}
		manifest, err := image.Manifest()
		if err != nil {
			return err
		}
		p := platform{Platform: image.Platform.String(), Digest: digest.String(), ID: ids[image.Platform.String()]}
		for _, l := range manifest.Layers {
			p.Bytes += l.Size
		}
		result.Platforms = append(result.Platforms, p)
		s.log().Info(fmt.Sprintf("built %s for %s: %s", name, p.Platform, units.HumanSize(float64(p.Bytes))))
	}
	return s.print(result, func(w io.Writer) { _, _ = fmt.Fprintln(w, name) })
}

// Package compose reads compose files and makes of them what a swarm can run:
// service specs, and the networks, volumes, secrets and configs that they need.
//
// It depends on compose-go for the format and must not know how a swarm is
// reached, or what skep calls an app.
package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"skep/usage"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	api "github.com/docker/docker/api/types/swarm"
	"github.com/sirupsen/logrus"
)

// labelStack is what docker's own stack commands know a stack by.
const labelStack = "com.docker.stack.namespace"

// Stack is a compose file as a swarm has it. Names are those of docker stack
// deploy: the stack's, an underscore, and the one in the file.
type Stack struct {
	Name     string
	Networks []Network
	Kept     []Kept
	Services []api.ServiceSpec // each after those that it depends on
}

// Network is an overlay network that is made unless it is there; an external
// one has to be there.
type Network struct {
	Name     string
	External bool
	Internal bool
	Options  map[string]string
	Labels   map[string]string
}

// Kept is a secret or a config that the swarm keeps. A part of its name comes
// of its content, for the swarm changes none: another content is another one.
type Kept struct {
	Name    string
	Secret  bool
	Content []byte
	Labels  map[string]string
}

// Load reads a compose file. An empty name is that which the file says, else
// that of its folder.
func Load(ctx context.Context, file, name string) (Stack, error) {
	project, err := read(ctx, file, name, true)
	if err != nil {
		return Stack{}, err
	}
	typed, err := read(ctx, file, name, false)
	if err != nil {
		return Stack{}, err
	}
	b := &builder{project: project, here: foldersHere(project, typed), stack: Stack{Name: project.Name}}
	if err := b.build(); err != nil {
		return Stack{}, fmt.Errorf("%s: %w", file, err)
	}
	return b.stack, nil
}

// foldersHere are the sources of bind mounts that were typed as paths from the
// file's folder or from the user's own: they are this computer's.
func foldersHere(project, typed *types.Project) map[string]bool {
	here := map[string]bool{}
	for name, s := range project.Services {
		as := typed.Services[name].Volumes
		for i, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind && i < len(as) && !path.IsAbs(as[i].Source) {
				here[v.Source] = true
			}
		}
	}
	return here
}

// read reads a compose file, with paths in it as they were typed or made absolute.
func read(ctx context.Context, file, name string, resolve bool) (*types.Project, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(file)
	env := types.NewMapping(os.Environ())
	values, err := dotenv.GetEnvFromFile(env, envFiles(dir))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, ".env"), err)
	}
	for k, v := range values {
		if _, set := env[k]; !set {
			env[k] = v
		}
	}
	// The library writes its warnings to a logger of its own.
	logrus.SetLevel(logrus.ErrorLevel)
	project, err := loader.LoadWithContext(ctx, types.ConfigDetails{
		WorkingDir: dir, ConfigFiles: []types.ConfigFile{{Filename: file, Content: content}}, Environment: env,
	}, func(o *loader.Options) {
		o.ResolvePaths = resolve
		o.SkipResolveEnvironment, o.SkipResolveLabels = !resolve, !resolve
		if name != "" {
			o.SetProjectName(name, true)
		} else {
			o.SetProjectName(loader.NormalizeProjectName(filepath.Base(dir)), false)
		}
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, usage.Errorf("%s is no compose file that can be read: %s", file, strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	}
	return project, nil
}

// envFiles is the file of variables beside a compose file, if there is one.
func envFiles(dir string) []string {
	file := filepath.Join(dir, ".env")
	if _, err := os.Stat(file); err != nil {
		return nil
	}
	return []string{file}
}

// builder is a compose file on its way to a stack.
type builder struct {
	project *types.Project
	here    map[string]bool // folders of this computer
	stack   Stack
	kept    map[string]string // names in the swarm, by kind and name in the file
}

func (b *builder) build() error {
	if len(b.project.Services) == 0 {
		return errors.New("it has no services")
	}
	if len(b.project.Models) > 0 || len(b.project.Jobs) > 0 {
		return errors.New("models and jobs are not for a swarm")
	}
	if err := b.networks(); err != nil {
		return err
	}
	if err := b.keep(); err != nil {
		return err
	}
	order, err := b.order()
	if err != nil {
		return err
	}
	for _, name := range order {
		s, err := b.service(b.project.Services[name])
		if err != nil {
			return fmt.Errorf("service %s: %w", name, err)
		}
		b.stack.Services = append(b.stack.Services, s)
	}
	return nil
}

func (b *builder) labels(more ...types.Labels) map[string]string {
	all := map[string]string{labelStack: b.stack.Name}
	for _, labels := range more {
		maps.Copy(all, labels)
	}
	return all
}

// networks are those that services use.
func (b *builder) networks() error {
	used := map[string]bool{}
	for _, s := range b.project.Services {
		for name := range s.Networks {
			used[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		n := b.project.Networks[name]
		switch {
		case n.Driver != "" && n.Driver != "overlay":
			return fmt.Errorf("network %s: driver %s is one node's own: a swarm has overlay networks", name, n.Driver)
		case len(n.Ipam.Config) > 0 || n.Ipam.Driver != "" && n.Ipam.Driver != "default":
			return fmt.Errorf("network %s: addresses (ipam) are left to the swarm", name)
		}
		b.stack.Networks = append(b.stack.Networks, Network{
			Name: n.Name, External: bool(n.External), Internal: n.Internal, Options: n.DriverOpts, Labels: b.labels(n.Labels),
		})
	}
	return nil
}

// order puts services after those that they depend on.
func (b *builder) order() ([]string, error) {
	var order []string
	state := map[string]int{} // 1 on its way, 2 done
	var visit func(name string) error
	visit = func(name string) error {
		switch state[name] {
		case 1:
			return fmt.Errorf("service %s depends on itself", name)
		case 2:
			return nil
		}
		state[name] = 1
		on := b.project.Services[name].DependsOn
		for _, other := range slices.Sorted(maps.Keys(on)) {
			if c := on[other].Condition; c != "" && c != types.ServiceConditionStarted {
				return fmt.Errorf("service %s: depends_on %s with condition %s: a swarm starts tasks without waiting for others, so %s has to wait by itself (a plain depends_on orders the first deploy)", name, other, c, name)
			}
			if _, there := b.project.Services[other]; !there {
				continue // of a profile that is not active
			}
			if err := visit(other); err != nil {
				return err
			}
		}
		state[name] = 2
		order = append(order, name)
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(b.project.Services)) {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// scoped is a name of the file as the swarm has it.
func (b *builder) scoped(name string) string { return b.stack.Name + "_" + name }

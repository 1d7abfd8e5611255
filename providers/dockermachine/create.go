package dockermachine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"skep/providers"
	"skep/usage"

	"golang.org/x/sync/errgroup"
)

// createTimeout is how long the making of one machine may take.
const createTimeout = 20 * time.Minute

// Check asks docker-machine for the driver's flags, and refuses what it has none
// for.
func (d *Driver) Check(ctx context.Context, specs []providers.Spec) ([]providers.Spec, error) {
	known := map[string][]string{}
	for _, s := range specs {
		driver, err := plain(s)
		if err != nil {
			return nil, err
		}
		if err := installed(); err != nil {
			return nil, fmt.Errorf("%s is no driver of skep's own (%s): %w", driver, strings.Join(d.Own, ", "), err)
		}
		if known[driver] == nil {
			if known[driver], err = flags(ctx, driver); err != nil {
				return nil, err
			}
		}
		if _, err := arguments(s, driver, known[driver]); err != nil {
			return nil, err
		}
	}
	return specs, nil
}

// plain is the name of the driver by docker-machine's own word.
func plain(s providers.Spec) (string, error) {
	driver := strings.TrimPrefix(s.Driver, Name+":")
	switch {
	case driver == Name:
		return "", usage.Errorf("-d %s: name one of its drivers, as in -d virtualbox", Name)
	case driver == "generic":
		return "", usage.Errorf("-d generic: skep's own driver for hosts that exist is ssh (--host USER@ADDRESS)")
	case s.Host != "":
		return "", usage.Errorf("the %s driver makes its own machines: --host goes with -d ssh", driver)
	case s.Install:
		return "", usage.Errorf("docker-machine installs Docker itself: leave --install out")
	case driver == "virtualbox" && runtime.GOOS == "linux" && missing("VBoxManage"):
		return "", errors.New("VirtualBox is not installed (there is no VBoxManage on PATH): install VirtualBox, or take another driver")
	}
	return driver, nil
}

func missing(name string) bool {
	_, err := exec.LookPath(name)
	return err != nil
}

// flags are what `docker-machine create` takes for a driver, without the dashes.
func flags(ctx context.Context, driver string) ([]string, error) {
	help, err := run(ctx, "create", "--driver", driver, "--help")
	var failed *failure
	if errors.As(err, &failed) {
		return nil, fmt.Errorf("docker-machine: %s", cmp.Or(failed.words, failed.err.Error()))
	}
	if err != nil {
		return nil, err
	}
	var all []string
	for _, found := range regexp.MustCompile(`--([a-z0-9][a-z0-9-]*)`).FindAllStringSubmatch(help, -1) {
		all = append(all, found[1])
	}
	if !slices.ContainsFunc(all, func(flag string) bool { return strings.HasPrefix(flag, driver+"-") }) {
		return nil, fmt.Errorf("docker-machine knows no driver %s: is docker-machine-driver-%s on PATH?", driver, driver)
	}
	return all, nil
}

// arguments are the flags that a spec becomes. A value is joined to its flag by
// =, for docker-machine takes no other form of some of them.
func arguments(s providers.Spec, driver string, known []string) ([]string, error) {
	var all []string
	for _, one := range []struct {
		flag, value string
		names       []string // what drivers call it
	}{
		{"--size", s.Size, []string{"machine-type", "instance-type", "server-type", "commercial-type", "instance-profile", "flavor-name", "flavor-id", "size", "plan"}},
		{"--region", s.Region, []string{"region", "location", "server-location", "availability-zone", "zone"}},
		{"--image", s.Image, []string{"machine-image", "ami", "image-name", "image-id", "image", "boot2docker-url"}},
	} {
		if one.value == "" {
			continue
		}
		i := slices.IndexFunc(one.names, func(name string) bool { return slices.Contains(known, driver+"-"+name) })
		if i < 0 {
			return nil, usage.Errorf("driver %s has no flag for %s: say it with --driver-opt %s-…=%s (`docker-machine create -d %s --help` lists them)", driver, one.flag, driver, one.value, driver)
		}
		all = append(all, "--"+driver+"-"+one.names[i]+"="+one.value)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Options)) {
		if !slices.Contains(known, key) {
			return nil, usage.Errorf("driver %s has no option %q: `docker-machine create -d %s --help` lists them", driver, key, driver)
		}
		if s.Options[key] == "" {
			all = append(all, "--"+key) // a switch
		} else {
			all = append(all, "--"+key+"="+s.Options[key])
		}
	}
	labels := map[string]string{labelBatch: strings.Join(s.Batch, "+"), labelRegion: s.Region, labelSize: s.Size}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if labels[name] != "" {
			all = append(all, "--engine-label="+name+"="+labels[name])
		}
	}
	return all, nil
}

// Create makes machines at once, those in VirtualBox one after another, for they
// share a network that each of them would make.
func (d *Driver) Create(ctx context.Context, specs []providers.Spec) ([]providers.Machine, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	env := specs[0].Env
	before, err := folders(env)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(specs))
	var g, queue errgroup.Group
	g.SetLimit(atOnce)
	queue.SetLimit(1)
	for i, s := range specs {
		if slices.Contains(names(before), s.Name) {
			continue
		}
		group := &g
		if strings.HasSuffix(s.Driver, "virtualbox") {
			group = &queue
		}
		group.Go(func() error {
			errs[i] = create(ctx, s)
			return nil
		})
	}
	_, _ = g.Wait(), queue.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	all, err := d.List(ctx, env)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(m providers.Machine) bool {
		return !slices.ContainsFunc(specs, func(s providers.Spec) bool { return s.Name == m.Name })
	}), nil
}

// create makes one machine. Once begun it is seen to its end, whatever the
// context says meanwhile: a docker-machine that is killed may have ordered a
// machine that it has not written down.
func create(ctx context.Context, s providers.Spec) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	driver, err := plain(s)
	if err != nil {
		return err
	}
	known, err := flags(ctx, driver)
	if err != nil {
		return err
	}
	words, err := arguments(s, driver, known)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), createTimeout, fmt.Errorf("not made within %s", createTimeout))
	defer cancel()
	args := append(append([]string{"create", "--driver", driver}, words...), s.Name)
	_, err = output(ctx, exec.CommandContext(ctx, program, args...)) // #nosec G204 -- that is what the driver does
	return err
}

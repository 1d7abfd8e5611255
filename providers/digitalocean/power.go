package digitalocean

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"skep/providers"
	"skep/tunnel"

	"github.com/digitalocean/godo"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

type action func(ctx context.Context, id int) (*godo.Action, *godo.Response, error)

// Start switches droplets on and waits until they are.
func (d *Driver) Start(ctx context.Context, machines []providers.Machine) error {
	api, err := d.client()
	if err != nil || len(machines) == 0 {
		return err
	}
	isOn := func(droplet godo.Droplet) bool { return droplet.Status == "active" }
	return d.power(ctx, machines, "start", api.DropletActions.PowerOn, isOn, d.times().active)
}

// Stop asks droplets to shut down, so that their containers end well, and
// switches off those that do not in time.
func (d *Driver) Stop(ctx context.Context, machines []providers.Machine) error {
	api, err := d.client()
	if err != nil || len(machines) == 0 {
		return err
	}
	isOff := func(droplet godo.Droplet) bool { return droplet.Status == "off" }
	var late *lateError
	err = d.power(ctx, machines, "shut down", api.DropletActions.Shutdown, isOff, d.times().off)
	if errors.As(err, &late) {
		err = d.power(ctx, machines, "switch off", api.DropletActions.PowerOff, isOff, d.times().active)
	}
	return err
}

// lateError is an action that did not have its effect in time.
type lateError struct{ err error }

func (l *lateError) Error() string { return l.err.Error() }

// power orders an action on those that are not as they should be, and waits
// until they are. One that refuses because another action is under way is
// asked again.
func (d *Driver) power(ctx context.Context, machines []providers.Machine, verb string, do action, right func(godo.Droplet) bool, within time.Duration) error {
	env := machines[0].Env
	var names []string
	for _, m := range machines {
		names = append(names, m.Name)
	}
	accepted := map[int]bool{}
	for begin := time.Now(); ; {
		found, err := d.droplets(ctx, env)
		if err != nil {
			return err
		}
		found = named(found, names)
		if gone := lacking(names, found); len(gone) > 0 {
			return fmt.Errorf("%s %s: DigitalOcean has no such droplet", verb, listed(gone))
		}
		found = slices.DeleteFunc(found, right)
		if len(found) == 0 {
			return nil
		}
		todo := slices.DeleteFunc(slices.Clone(found), func(droplet godo.Droplet) bool { return accepted[droplet.ID] })
		if err := order(ctx, verb, do, todo, accepted); err != nil {
			return err
		}
		if time.Since(begin) > within {
			return &lateError{fmt.Errorf("%s %s: not done after %s", verb, listed(namesOf(found)), within)}
		}
		if err := pause(ctx, d.times().poll); err != nil {
			return err
		}
	}
}

func order(ctx context.Context, verb string, do action, todo []godo.Droplet, accepted map[int]bool) error {
	errs := make([]error, len(todo))
	var g errgroup.Group
	g.SetLimit(mostAtOnce)
	for i, droplet := range todo {
		g.Go(func() error {
			_, _, errs[i] = do(ctx, droplet.ID)
			return nil
		})
	}
	_ = g.Wait()
	var failed []error
	for i, err := range errs {
		switch {
		case err == nil:
			accepted[todo[i].ID] = true
		case status(err) != http.StatusUnprocessableEntity: // it is busy
			failed = append(failed, explain(ctx, verb+" "+todo[i].Name, err))
		}
	}
	return errors.Join(failed...)
}

// Settle waits for the first boot to be over: a droplet answers SSH before it.
// What went wrong in it is told, and left to be found where it matters: exit
// code 2 is a boot with warnings.
func (d *Driver) Settle(ctx context.Context, conn *tunnel.Conn) error {
	out, err := conn.Run(ctx, "command -v cloud-init >/dev/null || exit 0; cloud-init status --wait --long 2>&1; code=$?; [ $code != 2 ] || exit 0; exit $code", nil)
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%s: %w: cloud-init says %s", conn.Name(), providers.ErrBoot, strings.Join(strings.Fields(out), " "))
	}
	return err
}

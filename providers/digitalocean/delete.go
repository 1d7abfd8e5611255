package digitalocean

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"skep/providers"

	"github.com/digitalocean/godo"
	"golang.org/x/sync/errgroup"
)

const mostAtOnce = 8

// Delete deletes droplets by name and returns once no list has them. With the
// last one go the environment's tags and, after the last environment, the key.
func (d *Driver) Delete(ctx context.Context, machines []providers.Machine) error {
	if len(machines) == 0 {
		return nil
	}
	api, err := d.client()
	if err != nil {
		return err
	}
	env := machines[0].Env
	var names []string
	for _, m := range machines {
		names = append(names, m.Name)
	}
	found, err := d.droplets(ctx, env)
	if err != nil {
		return err
	}
	if err := d.deleteUntilGone(ctx, api, env, d.surely(lacking(names, found)), func(droplet godo.Droplet) bool { return slices.Contains(names, droplet.Name) }); err != nil {
		return err
	}
	left, err := d.droplets(ctx, env)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		return d.Purge(ctx, env)
	}
	return d.removeStaleBatches(ctx, api, env, left)
}

// Purge removes everything that has the environment's tags, the tags, and the
// account key where no environment is left. It needs to know nothing but the name.
func (d *Driver) Purge(ctx context.Context, env string) error {
	api, err := d.client()
	if err != nil {
		return err
	}
	tags, err := d.tags(ctx, api)
	if err != nil {
		return err
	}
	found, err := d.droplets(ctx, env)
	if err != nil {
		return err
	}
	own := ofEnv(env, tags)
	if len(own)+len(found) > 0 {
		if err := d.deleteUntilGone(ctx, api, env, d.notBefore(env, own, found), func(godo.Droplet) bool { return true }); err != nil {
			return err
		}
		if err := d.removeTags(ctx, api, env); err != nil {
			return err
		}
		if tags, err = d.tags(ctx, api); err != nil {
			return err
		}
	}
	if len(tags) > 0 {
		return nil
	}
	return d.removeKeys(ctx, api)
}

// notBefore is when an empty list is to be believed: what tags tell of, no list
// has and nobody refused may be on its way from a skep that was killed.
func (d *Driver) notBefore(env string, tags []string, found []godo.Droplet) time.Time {
	return d.surely(lacking(batchNames(env, tags), found))
}

// surely is when a list has those of the names that are there at all.
func (d *Driver) surely(unlisted []string) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range unlisted {
		if !d.refused[name] {
			return time.Now().Add(d.times().lag)
		}
	}
	return time.Now()
}

// deleteUntilGone deletes those of the environment's droplets that are meant,
// late ones too, until the list has none of them.
func (d *Driver) deleteUntilGone(ctx context.Context, api *godo.Client, env string, notBefore time.Time, meant func(godo.Droplet) bool) error {
	begin := time.Now()
	ordered := map[int]time.Time{}
	var refused error
	var last []godo.Droplet
	for {
		found, err := d.droplets(ctx, env)
		if err != nil {
			return errors.Join(err, survivors(env, last, time.Since(begin)))
		}
		found = slices.DeleteFunc(found, func(droplet godo.Droplet) bool { return !meant(droplet) })
		if len(found) == 0 && !time.Now().Before(notBefore) {
			return nil
		}
		last = found
		if time.Since(begin) > d.times().gone {
			return errors.Join(survivors(env, found, d.times().gone), refused)
		}
		var todo []godo.Droplet
		for _, droplet := range found {
			if at, done := ordered[droplet.ID]; !done || time.Since(at) > d.times().lag*3 {
				todo = append(todo, droplet)
			}
		}
		var done []int
		done, refused = d.deleteAll(ctx, api, todo)
		for _, id := range done {
			ordered[id] = time.Now()
		}
		if code := status(refused); code == http.StatusUnauthorized || code == http.StatusForbidden {
			return errors.Join(explain(ctx, "delete droplets", refused), survivors(env, found, time.Since(begin)))
		}
		if err := pause(ctx, d.times().poll); err != nil {
			return errors.Join(err, survivors(env, found, time.Since(begin)))
		}
	}
}

// deleteAll orders the deletion of droplets and returns those that it was
// accepted for. One that is being made may refuse it for a while.
func (d *Driver) deleteAll(ctx context.Context, api *godo.Client, all []godo.Droplet) (done []int, refused error) {
	var g errgroup.Group
	g.SetLimit(mostAtOnce)
	errs := make([]error, len(all))
	for i, droplet := range all {
		g.Go(func() error {
			errs[i] = d.deleteOne(ctx, api, droplet)
			return nil
		})
	}
	_ = g.Wait()
	for i, err := range errs {
		if err == nil {
			done = append(done, all[i].ID)
		} else {
			refused = err
		}
	}
	return done, refused
}

func (d *Driver) deleteOne(ctx context.Context, api *godo.Client, droplet godo.Droplet) error {
	_, err := api.Droplets.Delete(ctx, droplet.ID)
	if err != nil && status(err) != http.StatusNotFound {
		return err
	}
	d.forget(droplet.ID)
	return nil
}

// survivors tells what still bills.
func survivors(env string, left []godo.Droplet, after time.Duration) error {
	if len(left) == 0 {
		return nil
	}
	var each []string
	sum := 0.0
	for _, droplet := range left {
		region := "?"
		if droplet.Region != nil {
			region = droplet.Region.Slug
		}
		each = append(each, fmt.Sprintf("%s in %s ($%.4f an hour)", droplet.Name, region, price(droplet)))
		sum += price(droplet)
	}
	slices.Sort(each)
	return fmt.Errorf("still at DigitalOcean after %s, and billed $%.4f an hour: %s: `skep nodes rm %s` tries again",
		after.Round(time.Second), sum, listed(each), env)
}

// removeTags removes all of the environment's tags.
func (d *Driver) removeTags(ctx context.Context, api *godo.Client, env string) error {
	tags, err := d.tags(ctx, api)
	if err != nil {
		return err
	}
	return deleteTags(ctx, api, ofEnv(env, tags))
}

// removeStaleBatches removes the tags of batches of which no droplet is left.
func (d *Driver) removeStaleBatches(ctx context.Context, api *godo.Client, env string, left []godo.Droplet) error {
	tags, err := d.tags(ctx, api)
	if err != nil {
		return err
	}
	return deleteTags(ctx, api, slices.DeleteFunc(ofEnv(env, tags), func(tag string) bool {
		_, rest := readTag(tag)
		return rest == "" || isRole(rest) || slices.ContainsFunc(left, func(droplet godo.Droplet) bool { return slices.Contains(droplet.Tags, tag) })
	}))
}

func deleteTags(ctx context.Context, api *godo.Client, tags []string) error {
	var errs []error
	for _, tag := range tags {
		if _, err := api.Tags.Delete(ctx, tag); err != nil && status(err) != http.StatusNotFound {
			errs = append(errs, explain(ctx, "remove tag "+tag, err))
		}
	}
	return errors.Join(errs...)
}

package digitalocean

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"skep/providers"

	"github.com/digitalocean/godo"
)

const (
	mostRounds = 4 // of calls for names whose call may have been lost
	postWithin = 2 * time.Minute
)

// ask makes the create calls, all at once, for what is not there yet. One whose
// end is not known is repeated for those names alone that no list has by then.
func (d *Driver) ask(ctx context.Context, api *godo.Client, common godo.DropletMultiCreateRequest, specs []providers.Spec) error {
	found, err := d.droplets(ctx, specs[0].Env)
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(specs), func(s providers.Spec) bool { return slices.Contains(namesOf(found), s.Name) })
	all := calls(missing)
	errs := make([]error, len(all))
	var asking sync.WaitGroup
	for i, c := range all {
		asking.Go(func() { errs[i] = d.askOnce(ctx, api, common, c) })
	}
	asking.Wait()
	return errors.Join(errs...)
}

// askOnce makes one create call count once.
func (d *Driver) askOnce(ctx context.Context, api *godo.Client, r godo.DropletMultiCreateRequest, c call) error {
	r.Region, r.Size, r.Image = c.region, c.size, godo.DropletCreateImage{Slug: c.image}
	if id, err := strconv.Atoi(c.image); err == nil {
		r.Image = godo.DropletCreateImage{ID: id}
	}
	r.Tags = append(c.tags(), r.Tags...)
	what := fmt.Sprintf("create %s in %s", listed(c.names), c.region)
	r.Names = c.names
	for round := 1; ; round++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := d.post(ctx, api, &r)
		if err == nil {
			return nil
		}
		switch {
		case !ambiguous(err):
			d.note(r.Names)
			return explain(ctx, what, err)
		case round == mostRounds:
			return explain(ctx, what, err)
		}
		found, looked := d.settled(ctx, c.env, c.names)
		if looked != nil {
			return errors.Join(explain(ctx, what, err), looked)
		}
		if r.Names = lacking(c.names, found); len(r.Names) == 0 {
			return nil
		}
	}
}

// post is not broken off: the droplets would be made all the same, unseen.
func (d *Driver) post(ctx context.Context, api *godo.Client, r *godo.DropletMultiCreateRequest) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), postWithin)
	defer cancel()
	made, _, err := api.Droplets.CreateMultiple(ctx, r)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made == nil {
		d.made = map[int]godo.Droplet{}
	}
	for _, droplet := range made {
		droplet.Tags = r.Tags // the answer may come before they are on
		d.made[droplet.ID] = droplet
	}
	return nil
}

// note remembers names that were refused: they need not be waited for.
func (d *Driver) note(names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused == nil {
		d.refused = map[string]bool{}
	}
	for _, n := range names {
		d.refused[n] = true
	}
}

// await polls the environment's list until what it has of all names is right.
func (d *Driver) await(ctx context.Context, env string, names []string, within time.Duration, right func(godo.Droplet) bool, wrong string) ([]godo.Droplet, error) {
	begin := time.Now()
	for {
		found, err := d.droplets(ctx, env)
		if err != nil {
			return nil, err
		}
		found = named(found, names)
		left := lacking(names, found)
		unlisted := len(left) > 0
		for _, droplet := range found {
			if !right(droplet) {
				left = append(left, droplet.Name)
			}
		}
		if len(left) == 0 {
			return found, nil
		}
		if time.Since(begin) > d.times().lag {
			if err := d.vanished(ctx); err != nil {
				return nil, err
			}
			if unlisted {
				return nil, fmt.Errorf("DigitalOcean has no droplet %s any more: it may have had no room for it, try again or take another region", listed(lacking(names, found)))
			}
		}
		if time.Since(begin) > within {
			slices.Sort(left)
			return nil, fmt.Errorf("%s %s after %s: try again, https://status.digitalocean.com tells whether DigitalOcean has trouble",
				listed(slices.Compact(left)), wrong, within)
		}
		if err := pause(ctx, d.times().poll); err != nil {
			return nil, err
		}
	}
}

// vanished looks for those that were made and are in no list though time
// enough has passed: one that found no room is gone without a word.
func (d *Driver) vanished(ctx context.Context) error {
	d.mu.Lock()
	var unlisted []godo.Droplet
	for _, droplet := range d.made {
		unlisted = append(unlisted, droplet)
	}
	d.mu.Unlock()
	var gone []string
	for _, droplet := range unlisted {
		_, _, err := d.api.Droplets.Get(ctx, droplet.ID)
		switch status(err) {
		case http.StatusNotFound:
			d.forget(droplet.ID)
			gone = append(gone, droplet.Name)
		default:
			if err != nil {
				return explain(ctx, "look for "+droplet.Name, err)
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	slices.Sort(gone)
	return fmt.Errorf("DigitalOcean has no droplet %s any more: it may have had no room for it, try again or take another region", listed(gone))
}

func (d *Driver) forget(id int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.made, id)
}

// noTwins deletes droplets that have the name of an older one: a call that was
// taken for lost came late. Nothing runs on them yet.
func (d *Driver) noTwins(ctx context.Context, api *godo.Client, env string, all []godo.Droplet) ([]godo.Droplet, error) {
	slices.SortFunc(all, func(a, b godo.Droplet) int { return a.ID - b.ID })
	var first []godo.Droplet
	var younger []int
	for _, droplet := range all {
		if slices.Contains(namesOf(first), droplet.Name) {
			younger = append(younger, droplet.ID)
		} else {
			first = append(first, droplet)
		}
	}
	if len(younger) == 0 {
		return first, nil
	}
	return first, d.deleteUntilGone(ctx, api, env, time.Now(), func(droplet godo.Droplet) bool { return slices.Contains(younger, droplet.ID) })
}

// giveRoles tags droplets that were made in one call with others of another
// role.
func giveRoles(ctx context.Context, api *godo.Client, env string, all []godo.Droplet) error {
	for _, role := range []providers.Role{providers.Manager, providers.Worker} {
		tag := roleTag(env, role)
		var without []godo.Resource
		for _, droplet := range all {
			if roleOf(env, droplet.Name) == role && !slices.Contains(droplet.Tags, tag) {
				without = append(without, godo.Resource{ID: strconv.Itoa(droplet.ID), Type: godo.DropletResourceType})
			}
		}
		if len(without) == 0 {
			continue
		}
		_, _, err := api.Tags.Create(ctx, &godo.TagCreateRequest{Name: tag})
		if err == nil || status(err) == http.StatusUnprocessableEntity { // there already
			_, err = api.Tags.TagResources(ctx, tag, &godo.TagResourcesRequest{Resources: without})
		}
		if err != nil {
			return explain(ctx, "give the tag "+tag, err)
		}
	}
	return nil
}

// tags is all tags of skep in the account.
func (d *Driver) tags(ctx context.Context, api *godo.Client) ([]string, error) {
	all, err := pages(func(o *godo.ListOptions) ([]godo.Tag, *godo.Response, error) { return api.Tags.List(ctx, o) })
	if err != nil {
		return nil, explain(ctx, "list tags", err)
	}
	var ours []string
	for _, tag := range all {
		if strings.HasPrefix(tag.Name, tagPrefix) {
			ours = append(ours, tag.Name)
		}
	}
	return ours, nil
}

// batchNames is every name that was ever asked for in the environment, as far as
// its tags are still there.
func batchNames(env string, tags []string) []string {
	var names []string
	for _, tag := range tags {
		if of, rest := readTag(tag); of == env && rest != "" && !isRole(rest) {
			names = append(names, readBatch(env, rest)...)
		}
	}
	return names
}

// ofEnv is the environment's own among tags of skep.
func ofEnv(env string, tags []string) []string {
	return slices.DeleteFunc(slices.Clone(tags), func(tag string) bool {
		of, _ := readTag(tag)
		return of != env
	})
}

package digitalocean

import (
	"context"
	"net/http"
	"slices"
	"time"

	"skep/providers"

	"github.com/digitalocean/godo"
)

// mostNames is how many droplets one create call may name.
const mostNames = 10

// Create asks for all droplets at once, one call per region and ten names, and
// returns once every one of them is switched on and has its address. Those that
// an earlier run asked for are taken as they are.
func (d *Driver) Create(ctx context.Context, specs []providers.Spec) ([]providers.Machine, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	api, err := d.client()
	if err != nil {
		return nil, err
	}
	s, err := readSettings()
	if err == nil {
		err = s.readUserdata()
	}
	if err != nil {
		return nil, err
	}
	env := specs[0].Env
	names := make([]string, 0, len(specs))
	for _, spec := range specs {
		names = append(names, spec.Name)
	}
	if err := d.announce(ctx, api, specs, names); err != nil {
		return nil, err
	}
	request, err := d.request(ctx, api, s)
	if err != nil {
		return nil, err
	}
	if err := d.ask(ctx, api, request, specs); err != nil {
		return nil, err
	}
	up, err := d.await(ctx, env, names, d.times().active, func(droplet godo.Droplet) bool {
		address, _ := droplet.PublicIPv4()
		return droplet.Status == "active" && address != ""
	}, "is not switched on with an address")
	if err != nil {
		return nil, err
	}
	if up, err = d.noTwins(ctx, api, env, up); err != nil {
		return nil, err
	}
	if err := giveRoles(ctx, api, env, up); err != nil {
		return nil, err
	}
	machines := make([]providers.Machine, 0, len(up))
	for _, droplet := range up {
		machines = append(machines, d.machine(droplet, s))
	}
	providers.Sort(machines)
	return machines, nil
}

// announce makes the tag that names the batch before any droplet is asked for.
// Where a tag says that one of the names was asked for before and no list has
// it, that call may be under way, and is waited for.
func (d *Driver) announce(ctx context.Context, api *godo.Client, specs []providers.Spec, names []string) error {
	env := specs[0].Env
	tags, err := d.tags(ctx, api)
	if err != nil {
		return err
	}
	asked := batchNames(env, tags)
	if slices.ContainsFunc(names, func(n string) bool { return slices.Contains(asked, n) }) {
		if _, err := d.settled(ctx, env, names); err != nil {
			return err
		}
	}
	for _, tag := range batchTags(specs) {
		if slices.Contains(tags, tag) {
			continue
		}
		_, _, err := api.Tags.Create(ctx, &godo.TagCreateRequest{Name: tag})
		if err != nil && status(err) != http.StatusUnprocessableEntity { // there already
			return explain(ctx, "make tag "+tag, err)
		}
	}
	return nil
}

// batchTags is one tag per batch that the specs are of.
func batchTags(specs []providers.Spec) []string {
	var tags []string
	for _, s := range specs {
		tags = append(tags, batchTag(s.Env, s.Batch))
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// settled waits until all names are listed, or until a list would have them if
// they were there.
func (d *Driver) settled(ctx context.Context, env string, names []string) ([]godo.Droplet, error) {
	for end := time.Now().Add(d.times().lag); ; {
		found, err := d.droplets(ctx, env)
		if err != nil || len(lacking(names, found)) == 0 || time.Now().After(end) {
			return found, err
		}
		if err := pause(ctx, d.times().poll); err != nil {
			return nil, err
		}
	}
}

// request is what all droplets of a create have in common.
func (d *Driver) request(ctx context.Context, api *godo.Client, s settings) (godo.DropletMultiCreateRequest, error) {
	r := godo.DropletMultiCreateRequest{
		Backups: s.backups, IPv6: s.ipv6, Monitoring: s.monitoring, PrivateNetworking: s.private, Tags: s.tags,
	}
	keys, err := d.accountKeys(ctx, api, s)
	if err != nil {
		return r, err
	}
	r.SSHKeys = keys
	public, _, err := d.publicKey(s)
	if err != nil {
		return r, err
	}
	r.UserData, err = userData(public, s.userdata)
	return r, err
}

// call is one create call: what goes into it has all but the name in common.
type call struct {
	env, batch          string
	region, size, image string
	names               []string
}

// calls parts specs into as few calls as there may be.
func calls(specs []providers.Spec) []call {
	var all []call
	for _, s := range specs {
		c := call{env: s.Env, batch: batchTag(s.Env, s.Batch), region: s.Region, size: s.Size, image: s.Image}
		i := slices.IndexFunc(all, func(o call) bool {
			return o.batch == c.batch && o.region == c.region && o.size == c.size && o.image == c.image && len(o.names) < mostNames
		})
		if i < 0 {
			all = append(all, c)
			i = len(all) - 1
		}
		all[i].names = append(all[i].names, s.Name)
	}
	return all
}

// tags are those that the call gives its droplets. The one of a role goes with
// it where all of them have that role; else see giveRoles.
func (c call) tags() []string {
	tags := []string{envTag(c.env), c.batch}
	for _, role := range []providers.Role{providers.Manager, providers.Worker} {
		if len(numbers(c.env, role, c.names)) == len(c.names) {
			tags = append(tags, roleTag(c.env, role))
		}
	}
	return slices.Compact(tags) // without a batch its tag is the environment's
}

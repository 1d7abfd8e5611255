package digitalocean

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"skep/providers"
	"skep/usage"

	"github.com/digitalocean/godo"
)

// Check fills in region, size, image and price and sees whether DigitalOcean
// has them now: slugs come and go.
func (d *Driver) Check(ctx context.Context, specs []providers.Spec) ([]providers.Spec, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	s, err := readSettings()
	if err == nil {
		err = s.readUserdata()
	}
	if err != nil {
		return nil, err
	}
	specs = slices.Clone(specs)
	for i, spec := range specs {
		switch {
		case spec.Host != "":
			return nil, usage.Errorf("the digitalocean driver makes its own machines: --host goes with -d ssh")
		case len(spec.Options) > 0:
			return nil, usage.Errorf("the digitalocean driver has no options: it takes docker-machine's variables, DIGITALOCEAN_MONITORING=true and the like")
		}
		specs[i].Region = cmp.Or(spec.Region, s.region)
		specs[i].Size = cmp.Or(spec.Size, s.size)
		specs[i].Image = cmp.Or(spec.Image, s.image)
	}
	if _, _, err := d.publicKey(s); err != nil {
		return nil, err
	}
	c, err := d.readCatalogue(ctx)
	if err != nil {
		return nil, err
	}
	images := map[string]godo.Image{}
	for i, spec := range specs {
		image, known := images[spec.Image]
		if !known {
			if image, err = d.image(ctx, spec.Image); err != nil {
				return nil, err
			}
			images[spec.Image] = image
		}
		if specs[i].HourlyUSD, err = c.offer(spec, image); err != nil {
			return nil, err
		}
		if s.backups {
			specs[i].HourlyUSD += specs[i].HourlyUSD * backupsCost
		}
	}
	return specs, d.checkLimit(ctx, specs)
}

// catalogue is what DigitalOcean offers.
type catalogue struct {
	regions []godo.Region
	sizes   []godo.Size
}

func (d *Driver) readCatalogue(ctx context.Context) (c catalogue, err error) {
	api, err := d.client()
	if err != nil {
		return c, err
	}
	c.regions, err = pages(func(o *godo.ListOptions) ([]godo.Region, *godo.Response, error) { return api.Regions.List(ctx, o) })
	if err != nil {
		return c, explain(ctx, "list regions", err)
	}
	c.sizes, err = pages(func(o *godo.ListOptions) ([]godo.Size, *godo.Response, error) { return api.Sizes.List(ctx, o) })
	if err != nil {
		return c, explain(ctx, "list sizes", err)
	}
	slices.SortStableFunc(c.sizes, func(a, b godo.Size) int { return cmp.Compare(a.PriceHourly, b.PriceHourly) })
	return c, nil
}

// mostNamed is how many alternatives an error names.
const mostNamed = 8

func some(slugs []string) string {
	if len(slugs) > mostNamed {
		return listed(slugs[:mostNamed]) + ", …"
	}
	return cmp.Or(listed(slugs), "none")
}

// offer is the price of a droplet in an hour, or why there is none of that kind.
func (c catalogue) offer(spec providers.Spec, image godo.Image) (float64, error) {
	var open []string
	for _, r := range c.regions {
		if r.Available {
			open = append(open, r.Slug)
		}
	}
	slices.Sort(open)
	if !slices.Contains(open, spec.Region) {
		return 0, fmt.Errorf("DigitalOcean has no region %s that is open: take one of %s", spec.Region, listed(open))
	}
	var here []string
	for _, size := range c.sizes {
		if size.Available && slices.Contains(size.Regions, spec.Region) {
			here = append(here, size.Slug)
		}
	}
	i := slices.IndexFunc(c.sizes, func(s godo.Size) bool { return s.Slug == spec.Size })
	switch {
	case i < 0:
		return 0, fmt.Errorf("DigitalOcean has no size %s: in %s it has %s", spec.Size, spec.Region, some(here))
	case !slices.Contains(here, spec.Size):
		return 0, fmt.Errorf("DigitalOcean does not offer size %s in %s now: there it has %s; that size it has in %s",
			spec.Size, spec.Region, some(here), some(c.sizes[i].Regions))
	case len(image.Regions) > 0 && !slices.Contains(image.Regions, spec.Region):
		return 0, fmt.Errorf("DigitalOcean does not offer image %s in %s: it is in %s", spec.Image, spec.Region, some(image.Regions))
	case image.MinDiskSize > c.sizes[i].Disk:
		return 0, fmt.Errorf("image %s wants a disk of %d GB, and size %s has %d", spec.Image, image.MinDiskSize, spec.Size, c.sizes[i].Disk)
	}
	return c.sizes[i].PriceHourly, nil
}

// image finds one by slug, or by number as snapshots have it.
func (d *Driver) image(ctx context.Context, name string) (godo.Image, error) {
	api, err := d.client()
	if err != nil {
		return godo.Image{}, err
	}
	var found *godo.Image
	if id, numeric := strconv.Atoi(name); numeric == nil {
		found, _, err = api.Images.GetByID(ctx, id)
	} else {
		found, _, err = api.Images.GetBySlug(ctx, name)
	}
	if err == nil {
		return *found, nil
	}
	if status(err) != http.StatusNotFound {
		return godo.Image{}, explain(ctx, "look for image "+name, err)
	}
	all, err := pages(func(o *godo.ListOptions) ([]godo.Image, *godo.Response, error) {
		return api.Images.ListDistribution(ctx, o)
	})
	if err != nil {
		return godo.Image{}, explain(ctx, "list images", err)
	}
	var slugs []string
	for _, image := range all {
		if strings.HasPrefix(image.Slug, "ubuntu") || strings.HasPrefix(image.Slug, "debian") {
			slugs = append(slugs, image.Slug)
		}
	}
	slices.Sort(slugs)
	return godo.Image{}, fmt.Errorf("DigitalOcean has no image %s: take one of %s", name, some(slugs))
}

// checkLimit refuses more than the account may have before any is made. A token
// that may not look at the account finds out later.
func (d *Driver) checkLimit(ctx context.Context, specs []providers.Spec) error {
	api, err := d.client()
	if err != nil {
		return err
	}
	account, _, err := api.Account.Get(ctx)
	if code := status(err); code == http.StatusForbidden || code == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return explain(ctx, "look at the account", err)
	}
	all, err := d.droplets(ctx, "")
	if err != nil {
		return err
	}
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
	}
	wanted := len(names) - len(namesOf(named(all, names)))
	if account.DropletLimit > 0 && len(all)+wanted > account.DropletLimit {
		return fmt.Errorf("DigitalOcean: creating %d droplets will exceed your droplet limit of %d, and %d are there: remove some, or ask DigitalOcean for a higher limit",
			wanted, account.DropletLimit, len(all))
	}
	return nil
}

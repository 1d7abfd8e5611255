// Package digitalocean is the driver that rents droplets at DigitalOcean.
//
// The only record is the droplets' tags, set in the call that creates them:
// skep:<env> finds everything of an environment, skep:<env>:<role> says what a
// droplet is, and a third one which droplets were asked for together. It
// depends on godo and must not know what runs on the droplets.
package digitalocean

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"skep/providers"
	"skep/tunnel"

	"github.com/digitalocean/godo"
)

// Name is the driver's name on the command line.
const Name = "digitalocean"

// Driver makes droplets in the account of the token that it finds.
type Driver struct {
	Key     string // path of the private key that droplets admit
	Version string // of skep, told to the API

	pace pace

	once    sync.Once
	api     *godo.Client
	openErr error

	mu      sync.Mutex
	made    map[int]godo.Droplet // by this process, and in no list yet
	refused map[string]bool      // names that the API said no to
}

var (
	_ providers.Driver  = (*Driver)(nil)
	_ providers.Settler = (*Driver)(nil)
)

// pace is how long things take; what is zero is the usual.
type pace struct {
	poll   time.Duration // between two looks
	lag    time.Duration // until a list has what was made, or no longer has what is gone
	active time.Duration // until a droplet is switched on
	off    time.Duration // until a droplet has shut down by itself
	gone   time.Duration // until a deleted droplet is gone
	retry  time.Duration // the first pause before a call is repeated
}

func (d *Driver) times() pace {
	p := d.pace
	usual := func(t *time.Duration, value time.Duration) {
		if *t == 0 {
			*t = value
		}
	}
	usual(&p.poll, 2*time.Second)
	usual(&p.lag, 10*time.Second)
	usual(&p.active, 5*time.Minute)
	usual(&p.off, time.Minute)
	usual(&p.gone, 3*time.Minute)
	usual(&p.retry, 500*time.Millisecond)
	return p
}

// List finds droplets by tag, all of them in one call per two hundred.
func (d *Driver) List(ctx context.Context, env string) ([]providers.Machine, error) {
	found, err := d.droplets(ctx, env)
	if err != nil {
		return nil, err
	}
	s, err := readSettings()
	if err != nil {
		return nil, err
	}
	machines := make([]providers.Machine, 0, len(found))
	for _, droplet := range found {
		if m := d.machine(droplet, s); m.Env != "" {
			machines = append(machines, m)
		}
	}
	providers.Sort(machines)
	return machines, nil
}

// droplets is those of an environment, or all of the account where env is "".
// A list lags: what this process made is added until it is listed.
func (d *Driver) droplets(ctx context.Context, env string) ([]godo.Droplet, error) {
	api, err := d.client()
	if err != nil {
		return nil, err
	}
	found, err := pages(func(o *godo.ListOptions) ([]godo.Droplet, *godo.Response, error) {
		if env == "" {
			return api.Droplets.List(ctx, o)
		}
		return api.Droplets.ListByTag(ctx, envTag(env), o)
	})
	if err != nil && (env == "" || status(err) != http.StatusNotFound) { // of a tag that there is not
		return nil, explain(ctx, "list droplets", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, droplet := range found {
		delete(d.made, droplet.ID)
	}
	for _, droplet := range d.made {
		if env == "" || slices.Contains(droplet.Tags, envTag(env)) {
			found = append(found, droplet)
		}
	}
	return found, nil
}

// pages reads all pages of a list.
func pages[T any](list func(*godo.ListOptions) ([]T, *godo.Response, error)) ([]T, error) {
	var all []T
	for page := 1; ; page++ {
		some, res, err := list(&godo.ListOptions{Page: page, PerPage: 200})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if res.Links == nil || res.Links.IsLastPage() {
			return all, nil
		}
	}
}

// machine reads a droplet; one that is not skep's has no environment.
func (d *Driver) machine(droplet godo.Droplet, s settings) providers.Machine {
	m := providers.Machine{
		Name: droplet.Name, Driver: Name, Size: droplet.SizeSlug,
		Running: droplet.Status == "active", Fresh: droplet.Status == "new",
		HourlyUSD: price(droplet),
	}
	for _, tag := range droplet.Tags {
		env, rest := readTag(tag)
		if env == "" {
			continue
		}
		m.Env = env
		if rest != "" && !isRole(rest) {
			m.Batch = readBatch(env, rest)
		}
	}
	m.Role = roleOf(m.Env, m.Name)
	if droplet.Region != nil {
		m.Region = droplet.Region.Slug
	}
	m.Address, _ = droplet.PublicIPv4()
	m.PrivateAddress, _ = droplet.PrivateIPv4()
	m.Created, _ = time.Parse(time.RFC3339, droplet.Created)
	m.SSH = tunnel.Endpoint{
		Name: m.Name, User: s.user, Address: net.JoinHostPort(m.Address, s.port),
		KeyFile: d.keyFile(s), TrustFirst: true,
	}
	return m
}

// roleOf is told by the name: the tag of the role may be still to come.
func roleOf(env, name string) providers.Role {
	if (providers.Machine{Env: env, Name: name, Role: providers.Manager}).Number() > 0 {
		return providers.Manager
	}
	return providers.Worker
}

func isRole(s string) bool { return s == string(providers.Manager) || s == string(providers.Worker) }

// backupsCost is what weekly backups add to the price of a droplet.
const backupsCost = 0.2

func price(droplet godo.Droplet) float64 {
	if droplet.Size == nil {
		return 0
	}
	hourly := droplet.Size.PriceHourly
	if slices.Contains(droplet.Features, "backups") {
		hourly += hourly * backupsCost
	}
	return hourly
}

// pause waits for the next look.
func pause(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// named is the droplets that have one of the names.
func named(all []godo.Droplet, names []string) []godo.Droplet {
	var some []godo.Droplet
	for _, droplet := range all {
		if slices.Contains(names, droplet.Name) {
			some = append(some, droplet)
		}
	}
	return some
}

func namesOf(all []godo.Droplet) []string {
	var names []string
	for _, droplet := range all {
		names = append(names, droplet.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// lacking is the names that no droplet has.
func lacking(names []string, all []godo.Droplet) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(namesOf(all), n) })
}

func listed(names []string) string { return strings.Join(names, ", ") }

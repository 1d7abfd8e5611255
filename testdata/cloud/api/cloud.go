// Package api is a cloud for tests: it serves those calls of DigitalOcean's API
// that skep makes, with the life cycle, the lag and the faults of the real one.
//
// Whoever makes hosts for it makes its droplets real; without, they are records
// alone. It must not know skep.
package api

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Hosts makes droplets real. Calls for one droplet come one after another.
type Hosts interface {
	// Make boots a droplet and returns its address.
	Make(ctx context.Context, d Boot) (string, error)
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, id string) error
	Remove(ctx context.Context, id string) error
}

// Boot is a droplet that is to be booted.
type Boot struct {
	ID, Name, Keys, UserData string
	Late                     time.Duration // of everything in it
}

// Faults are what goes wrong. Counts go down with every use.
type Faults struct {
	TooMany     int `json:"too_many"`     // calls that get 429 and Retry-After
	Broken      int `json:"broken"`       // calls that get 500, and are not carried out
	CutCreates  int `json:"cut_creates"`  // create calls that are carried out, and the connection is cut
	BadGateway  int `json:"bad_gateway"`  // create calls that are carried out, and get 502
	NeverActive int `json:"never_active"` // droplets that stay new
	Vanish      int `json:"vanish"`       // droplets that find no room, and are gone

	Boot      Duration `json:"boot"`       // how long droplets are new
	LateSSH   Duration `json:"late_ssh"`   // how long after that nothing in them answers
	Lag       Duration `json:"lag"`        // of lists
	SlowAdd   Duration `json:"slow_add"`   // how long a create call takes before it is carried out
	SlowGone  Duration `json:"slow_gone"`  // how long a deletion takes
	NeverGone bool     `json:"never_gone"` // deletions are accepted and forgotten
	Deaf      bool     `json:"deaf"`       // droplets ignore the request to shut down
	Limit     int      `json:"limit"`      // droplets of the account; 0 is 100
}

// Duration is one in JSON as a number of seconds.
type Duration float64

// Of is the Duration of a time.
func Of(d time.Duration) Duration { return Duration(d.Seconds()) }

func (d Duration) real() time.Duration { return time.Duration(float64(d) * float64(time.Second)) }

// State is what there is and what was asked.
type State struct {
	Droplets []string       `json:"droplets"` // names, those that are going included
	Tags     []string       `json:"tags"`
	Keys     []string       `json:"keys"`
	Twins    []string       `json:"twins"`    // names that two droplets ever had at once
	Made     int            `json:"made"`     // droplets ever
	Calls    map[string]int `json:"calls"`    // by method and kind of path
	UserData []string       `json:"userdata"` // ever given
}

// Cloud is one account at the cloud. It serves HTTP.
type Cloud struct {
	token string
	hosts Hosts
	mux   *http.ServeMux

	mu       sync.Mutex
	faults   Faults
	droplets map[int]*droplet
	tags     map[string]bool
	keys     map[int]key
	calls    map[string]int
	twins    map[string]bool
	userData map[string]bool
	lastID   int
	made     int

	working sync.WaitGroup
	ending  context.Context
	end     context.CancelFunc
}

type droplet struct {
	id                        int
	name, region, size, image string
	tags                      []string
	keys, userData            string
	features                  []string
	status, address           string
	created, listed, hidden   time.Time // when made, when lists begin to and end to have it
	real, going, busy         bool
}

type key struct {
	ID          int    `json:"id"`
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"`
	PublicKey   string `json:"public_key"`
}

// New opens an account for one token. Close ends it.
func New(token string, hosts Hosts, faults Faults) *Cloud {
	c := &Cloud{
		token: token, hosts: hosts, faults: faults,
		droplets: map[int]*droplet{}, tags: map[string]bool{}, keys: map[int]key{}, calls: map[string]int{},
		twins: map[string]bool{}, userData: map[string]bool{}, lastID: 1000,
	}
	c.ending, c.end = context.WithCancel(context.Background())
	c.mux = c.routes()
	return c
}

// Close waits for what is under way.
func (c *Cloud) Close() {
	c.end()
	c.working.Wait()
}

// Set changes what goes wrong from now on.
func (c *Cloud) Set(f Faults) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = f
}

// State is the account's, without lag.
func (c *Cloud) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := State{
		Tags: slices.Sorted(maps.Keys(c.tags)), Twins: slices.Sorted(maps.Keys(c.twins)),
		UserData: slices.Sorted(maps.Keys(c.userData)), Made: c.made, Calls: maps.Clone(c.calls),
	}
	for _, d := range c.droplets {
		s.Droplets = append(s.Droplets, d.name)
	}
	for _, k := range c.keys {
		s.Keys = append(s.Keys, k.Name)
	}
	slices.Sort(s.Droplets)
	slices.Sort(s.Keys)
	return s
}

// Forget begins the count of calls anew.
func (c *Cloud) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.calls)
}

// AddKey puts a key into the account that somebody has made by hand.
func (c *Cloud) AddKey(name, public string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.addKey(name, public)
	return err
}

// take uses one of a number of faults up.
func take(n *int) bool {
	if *n <= 0 {
		return false
	}
	*n--
	return true
}

// after does something a while later, under the lock, unless the cloud ends.
func (c *Cloud) after(wait time.Duration, do func()) {
	c.working.Go(func() {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.ending.Done():
			return
		}
		do()
	})
}

// limit is how many droplets the account may have.
func (c *Cloud) limit() int { return cmp.Or(c.faults.Limit, 100) }

// boot makes a droplet active after a while, unless it is to fail.
func (c *Cloud) boot(d *droplet) {
	if take(&c.faults.NeverActive) {
		return
	}
	vanish, late := take(&c.faults.Vanish), c.faults.LateSSH.real()
	c.after(c.faults.Boot.real(), func() {
		if vanish {
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.droplets, d.id)
			return
		}
		address, err := fmt.Sprintf("203.0.113.%d", d.id%250+1), error(nil)
		if c.hosts != nil {
			address, err = c.hosts.Make(c.ending, Boot{ID: fmt.Sprint(d.id), Name: d.name, Keys: d.keys, UserData: d.userData, Late: late})
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		d.real = err == nil
		if err != nil {
			fmt.Println("boot", d.name, err)
			delete(c.droplets, d.id)
			return
		}
		d.status, d.address = "active", address
	})
}

// remove deletes a droplet; lists have it for a while longer.
func (c *Cloud) remove(d *droplet) {
	if d.going || c.faults.NeverGone {
		return
	}
	d.going = true
	c.after(c.faults.SlowGone.real(), func() {
		if c.hosts != nil {
			if err := c.hosts.Remove(c.ending, fmt.Sprint(d.id)); err != nil {
				fmt.Println("remove", d.name, err)
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		lag := c.faults.Lag.real()
		d.hidden = time.Now().Add(lag)
		c.after(lag, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.droplets, d.id)
		})
	})
}

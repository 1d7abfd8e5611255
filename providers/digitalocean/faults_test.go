package digitalocean

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"skep/providers"
	"skep/testdata/cloud/api"

	"github.com/digitalocean/godo"
)

// Whatever goes wrong once, a create gets done, nothing is made twice, and
// somebody who knows the name alone removes all of it.
func TestFaultsThatPass(t *testing.T) {
	for name, f := range map[string]api.Faults{
		"rate limit":                {TooMany: 2},
		"server errors":             {Broken: 3},
		"cut after the create":      {CutCreates: 2},
		"cut, and the list lags":    {CutCreates: 1, Lag: 0.1},
		"gateway after the create":  {BadGateway: 1, Lag: 0.1},
		"list lags":                 {Lag: 0.15, Boot: 0.05},
		"deletes take long":         {SlowGone: 0.4},
		"deletes take long and lag": {SlowGone: 0.3, Lag: 0.15},
		"slow create":               {SlowAdd: 0.3},
	} {
		t.Run(name, func(t *testing.T) {
			r := rent(t, f)
			r.must(specsOf("tst", 1, 5, "ams3", "sgp1", "nyc3"))
			if s := r.cloud.State(); s.Made != 6 || len(s.Droplets) != 6 {
				t.Errorf("%d made, %d there", s.Made, len(s.Droplets))
			}
			r.purge()
		})
	}
}

func TestDeletesMeetFaults(t *testing.T) {
	r := rent(t, api.Faults{})
	r.must(specsOf("tst", 1, 5))
	r.cloud.Set(api.Faults{TooMany: 1, Broken: 4, SlowGone: 0.1, Lag: 0.1})
	r.purge()
}

func TestRetryAfterIsHonoured(t *testing.T) {
	r := rent(t, api.Faults{TooMany: 1})
	begin := time.Now()
	if _, err := r.List(t.Context(), "tst"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < time.Second {
		t.Errorf("asked again after %s, and was told 1 s", took)
	}
}

func TestCreateCallIsNotRepeatedBlindly(t *testing.T) {
	r := rent(t, api.Faults{})
	checked, err := r.Check(t.Context(), specsOf("tst", 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	r.cloud.Set(api.Faults{BadGateway: 1})
	if _, err := r.Create(t.Context(), checked); err != nil {
		t.Fatal(err)
	}
	if n := r.count("POST /v2/droplets"); n != 1 {
		t.Errorf("%d create calls, and the first was carried out", n)
	}
	r.purge()
}

func TestNeverActive(t *testing.T) {
	r := rent(t, api.Faults{NeverActive: 1})
	_, err := r.create(specsOf("tst", 1, 0))
	wants(t, err, "tst-manager-1", "not switched on", "after 2s")
	r.purge()
}

func TestNoRoom(t *testing.T) {
	r := rent(t, api.Faults{Vanish: 1, Boot: 0.05})
	_, err := r.create(specsOf("tst", 1, 0))
	wants(t, err, "tst-manager-1", "no room", "another region")
	r.purge()
	r = rent(t, api.Faults{Vanish: 1, Boot: 0.05, Lag: 0.1}) // before any list had it
	_, err = r.create(specsOf("tst", 1, 0))
	wants(t, err, "tst-manager-1", "no room")
	r.purge()
}

func TestWhatSurvivesIsToldWithItsPrice(t *testing.T) {
	r := rent(t, api.Faults{})
	r.must(specsOf("tst", 1, 1, "ams3", "fra1"))
	r.cloud.Set(api.Faults{NeverGone: true})
	for _, err := range []error{r.Purge(t.Context(), "tst"), r.Delete(t.Context(), mustList(t, r, "tst"))} {
		wants(t, err, "still at DigitalOcean", "tst-manager-1 in ams3 ($0.0089 an hour)", "tst-worker-1 in fra1", "$0.0179 an hour", "skep nodes rm tst")
	}
	r.cloud.Set(api.Faults{})
	r.purge()
}

func TestRefusedBeforeAnythingIsMade(t *testing.T) {
	for name, c := range map[string]struct {
		region, size, image string
		words               []string
	}{
		"region":           {"mars1", "", "", []string{"no region mars1", "ams3, fra1, nyc3, sgp1"}},
		"closed region":    {"ams2", "", "", []string{"no region ams2 that is open"}},
		"size":             {"", "s-9vcpu", "", []string{"no size s-9vcpu", "s-1vcpu-1gb"}},
		"size elsewhere":   {"ams3", "s-4vcpu-8gb", "", []string{"s-4vcpu-8gb in ams3", "it has in nyc3", "s-2vcpu-2gb"}},
		"image":            {"", "", "ubuntu-4-04-x64", []string{"no image ubuntu-4-04-x64", "debian-12-x64", "ubuntu-24-04-x64"}},
		"image elsewhere":  {"ams3", "", "ubuntu-large-x64", []string{"ubuntu-large-x64 in ams3", "nyc3"}},
		"too small a disk": {"nyc3", "", "ubuntu-large-x64", []string{"50 GB", "25"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := rent(t, api.Faults{})
			specs := specsOf("tst", 1, 1)
			specs[1].Region, specs[1].Size, specs[1].Image = c.region, c.size, c.image
			_, err := r.create(specs)
			wants(t, err, c.words...)
			r.nothing()
			if s := r.cloud.State(); s.Made > 0 {
				t.Errorf("%d made", s.Made)
			}
		})
	}
}

func TestLimit(t *testing.T) {
	r := rent(t, api.Faults{Limit: 2})
	specs := specsOf("tst", 1, 2, "ams3", "fra1", "nyc3")
	_, err := r.create(specs)
	wants(t, err, "exceed your droplet limit of 2", "higher limit")
	if s := r.cloud.State(); s.Made > 0 {
		t.Errorf("%d made", s.Made)
	}
	// Somebody else takes the last ones in between: the API's own words.
	r.cloud.Set(api.Faults{})
	checked, err := r.Check(t.Context(), specs)
	if err != nil {
		t.Fatal(err)
	}
	r.cloud.Set(api.Faults{Limit: 1})
	_, err = r.Create(t.Context(), checked)
	wants(t, err, "creating this/these droplet(s) will exceed your droplet limit (422)", "higher limit")
	r.purge()
}

func TestWrongToken(t *testing.T) {
	r := rent(t, api.Faults{})
	t.Setenv("DIGITALOCEAN_ACCESS_TOKEN", token+"x")
	_, err := r.create(specsOf("tst", 1, 0))
	wants(t, err, "Unable to authenticate you (401)", "DIGITALOCEAN_ACCESS_TOKEN")
	wants(t, r.Purge(t.Context(), "tst"), "Unable to authenticate you")
	r.nothing()
}

func TestNoAnswer(t *testing.T) {
	r := rent(t, api.Faults{})
	t.Setenv("DIGITALOCEAN_API_URL", "http://127.0.0.1:1")
	_, err := r.List(t.Context(), "tst")
	wants(t, err, "no answer", "connection refused")
}

func TestKeysOfOthersStay(t *testing.T) {
	r := rent(t, api.Faults{})
	line, _, err := r.publicKey(settings{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cloud.AddKey("my own name for it", line); err != nil {
		t.Fatal(err)
	}
	r.must(specsOf("tst", 1, 0))
	if err := r.Purge(t.Context(), "tst"); err != nil {
		t.Fatal(err)
	}
	if got := r.cloud.State().Keys; !slices.Equal(got, []string{"my own name for it"}) {
		t.Errorf("keys: %v", got)
	}
}

// A skep that is killed at any moment of a create leaves what the next one
// finishes, and what a removal finds; on a list that lags, too.
func TestKilledAtRandomMoments(t *testing.T) {
	for _, again := range []bool{false, true} {
		for range 10 {
			r := rent(t, api.Faults{Boot: 0.05, Lag: 0.1, SlowAdd: 0.05})
			specs := specsOf("tst", 1, 2, "ams3", "fra1")
			checked, err := r.Check(t.Context(), specs)
			if err != nil {
				t.Fatal(err)
			}
			ctx, kill := context.WithTimeoutCause(t.Context(), rand.N(250*time.Millisecond), errKilled)
			killed := r.another()
			_, err = killed.Create(ctx, checked)
			kill()
			if err != nil && !errors.Is(err, errKilled) && !strings.Contains(err.Error(), "killed") {
				t.Fatal(err)
			}
			if again {
				made, err := r.another().Create(t.Context(), checked)
				if err != nil || len(made) != 3 {
					t.Fatalf("the next one made %d: %v", len(made), err)
				}
				if s := r.cloud.State(); s.Made != 3 {
					t.Fatalf("%d made in all", s.Made)
				}
			}
			r.purge()
		}
	}
}

// A call that was taken for lost may come later than any list would lag.
func TestTheYoungerTwinGoes(t *testing.T) {
	r := rent(t, api.Faults{SlowGone: 0.1, Lag: 0.05})
	checked, err := r.Check(t.Context(), specsOf("tst", 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	client, err := r.client()
	if err != nil {
		t.Fatal(err)
	}
	c := calls(checked)[0]
	for range 2 {
		if err := r.post(t.Context(), client, &godo.DropletMultiCreateRequest{
			Names: c.names[:1], Region: c.region, Size: c.size, Image: godo.DropletCreateImage{Slug: c.image},
			SSHKeys: []godo.DropletCreateSSHKey{}, Tags: c.tags(),
		}); err != nil {
			t.Fatal(err)
		}
	}
	made, err := r.Create(t.Context(), checked)
	if err != nil || len(made) != 2 {
		t.Fatalf("%+v, %v", made, err)
	}
	left, err := r.another().droplets(t.Context(), "tst")
	if err != nil || !slices.Equal(namesOf(left), []string{"tst-manager-1", "tst-worker-1"}) || len(left) != 2 || left[0].ID > left[1].ID {
		t.Fatalf("%v, %v", namesOf(left), err)
	}
	if err := r.Purge(t.Context(), "tst"); err != nil {
		t.Fatal(err)
	}
}

var errKilled = errors.New("killed")

func mustList(t *testing.T, r *rented, env string) []providers.Machine {
	t.Helper()
	found, err := r.List(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

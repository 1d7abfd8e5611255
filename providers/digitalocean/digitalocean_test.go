package digitalocean

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"skep/providers"
	"skep/testdata/cloud/api"
)

func TestThirtyDropletsInThreeRegionsAreThreeCreateCalls(t *testing.T) {
	polls := map[int]int{}
	for _, workers := range []int{3, 27} {
		r := rent(t, api.Faults{Boot: 0.3})
		made := r.must(specsOf("tst", 3, workers, "ams3", "sgp1", "nyc3"))
		if n := r.count("POST /v2/droplets"); n != 3 {
			t.Errorf("%d create calls for %d droplets", n, len(made))
		}
		if n := r.count("GET /v2/droplets/*"); n > 0 {
			t.Errorf("%d calls for single droplets", n)
		}
		polls[workers] = r.count()
		in := map[string]int{}
		for _, m := range made {
			in[m.Region]++
			if !m.Running || m.Address == "" || m.PrivateAddress == "" || m.HourlyUSD != 0.00893 || m.Size != defaultSize || !m.SSH.TrustFirst || len(m.Batch) != 3+workers {
				t.Fatalf("%+v", m)
			}
		}
		if want := 1 + workers/3; in["ams3"] != want || in["sgp1"] != want || in["nyc3"] != want {
			t.Errorf("not spread: %v", in)
		}
		t.Logf("%d droplets: %v", len(made), r.cloud.State().Calls)
		r.purge()
	}
	if polls[27] > polls[3]+3 { // a look more or less
		t.Errorf("%d calls for 30 droplets, %d for 6", polls[27], polls[3])
	}
}

func TestListingAHundredIsOneCall(t *testing.T) {
	r := rent(t, api.Faults{})
	r.must(specsOf("tst", 3, 97, "ams3", "sgp1"))
	r.cloud.Forget()
	for _, env := range []string{"tst", ""} {
		found, err := r.another().List(t.Context(), env)
		if err != nil || len(found) != 100 {
			t.Fatalf("%d listed: %v", len(found), err)
		}
	}
	if n := r.count(); n != 2 { // of two listings
		t.Errorf("%d calls: %v", n, r.cloud.State().Calls)
	}
	r.purge()
}

func TestTagsAreTheRecord(t *testing.T) {
	r := rent(t, api.Faults{})
	t.Setenv("DIGITALOCEAN_TAGS", "mine, yours")
	r.must(specsOf("tst", 1, 2, "ams3"))
	want := []string{"mine", "skep:tst", "skep:tst:m1:w1-2", "skep:tst:manager", "skep:tst:worker", "yours"}
	if got := r.cloud.State().Tags; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	r.must(specsOf("other", 1, 0))
	if err := r.Purge(t.Context(), "tst"); err != nil {
		t.Fatal(err)
	}
	s := r.cloud.State()
	if !slices.Equal(s.Droplets, []string{"other-manager-1"}) || len(s.Keys) != 1 || slices.ContainsFunc(s.Tags, func(tag string) bool { return strings.HasPrefix(tag, "skep:tst") }) {
		t.Errorf("after the purge of one: %+v", s)
	}
	if err := r.another().Purge(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	if s := r.cloud.State(); len(s.Droplets)+len(s.Keys) > 0 || !slices.Equal(s.Tags, []string{"mine", "yours"}) {
		t.Errorf("after the purge of both: %+v", s)
	}
}

func TestDeleteOfTheLastRemovesWhatWasShared(t *testing.T) {
	r := rent(t, api.Faults{Lag: 0.05})
	made := r.must(specsOf("tst", 1, 2))
	if err := r.Delete(t.Context(), made[1:2]); err != nil {
		t.Fatal(err)
	}
	if err := r.Delete(t.Context(), made[1:2]); err != nil {
		t.Error("again:", err)
	}
	if s := r.cloud.State(); len(s.Droplets) != 2 || len(s.Keys) != 1 {
		t.Fatalf("%+v", s)
	}
	if err := r.Delete(t.Context(), []providers.Machine{made[0], made[2]}); err != nil {
		t.Fatal(err)
	}
	r.nothing()
}

func TestABatchThatWasCutShortIsKnown(t *testing.T) {
	r := rent(t, api.Faults{})
	checked, err := r.Check(t.Context(), specsOf("tst", 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Create(t.Context(), checked[:1]); err != nil {
		t.Fatal(err)
	}
	found, err := r.another().List(t.Context(), "tst")
	if err != nil || len(found) != 1 || !slices.Equal(found[0].Batch, []string{"tst-manager-1", "tst-worker-1", "tst-worker-2"}) {
		t.Fatalf("%+v, %v", found, err)
	}
	made, err := r.another().Create(t.Context(), checked)
	if err != nil || len(made) != 3 {
		t.Fatalf("%d: %v", len(made), err)
	}
	r.purge()
}

func TestStopAndStart(t *testing.T) {
	for name, f := range map[string]api.Faults{"by themselves": {}, "deaf": {Deaf: true}} {
		t.Run(name, func(t *testing.T) {
			r := rent(t, f)
			made := r.must(specsOf("tst", 1, 1))
			if err := r.Stop(t.Context(), made); err != nil {
				t.Fatal(err)
			}
			found, err := r.List(t.Context(), "tst")
			if err != nil || found[0].Running || found[1].Running || found[0].Fresh || found[0].HourlyUSD == 0 || found[0].Address == "" {
				t.Fatalf("%+v, %v", found, err)
			}
			if err := errors.Join(r.Stop(t.Context(), made), r.Start(t.Context(), made), r.Start(t.Context(), made)); err != nil {
				t.Fatal(err)
			}
			if found, err := r.List(t.Context(), "tst"); err != nil || !found[0].Running || !found[1].Running {
				t.Fatalf("%+v, %v", found, err)
			}
			r.purge()
		})
	}
}

func TestStoppedFromOutside(t *testing.T) {
	r := rent(t, api.Faults{NeverActive: 2})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		_ = pause(ctx, 100*time.Millisecond)
		cancel(errors.New("stopped by interrupt"))
	}()
	checked, err := r.Check(ctx, specsOf("tst", 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Create(ctx, checked)
	wants(t, err, "stopped by interrupt")
	if n := len(r.cloud.State().Droplets); n != 2 {
		t.Fatalf("%d droplets", n)
	}
	r.purge()
}

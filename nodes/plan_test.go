package nodes

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"skep/providers"
	"skep/usage"
)

// Machines in the short form of these tests: `m1 w1 w2` are dev's first manager
// and its first two workers; `w2?` was made and never started.
func parseMachines(short string, batch ...string) []providers.Machine {
	var all []providers.Machine
	for name := range strings.FieldsSeq(short) {
		name, fresh := strings.CutSuffix(name, "?")
		role := providers.Manager
		if name[0] == 'w' {
			role = providers.Worker
		}
		all = append(all, providers.Machine{
			Env: "dev", Name: long(name), Role: role, Driver: "fake", Running: !fresh, Fresh: fresh, Batch: batch,
		})
	}
	return all
}

func long(short string) string {
	role := map[byte]string{'m': "manager", 'w': "worker"}[short[0]]
	return "dev-" + role + "-" + short[1:]
}

func longs(short string) []string {
	var all []string
	for name := range strings.FieldsSeq(short) {
		all = append(all, long(name))
	}
	return all
}

func set(names []string) map[string]bool {
	all := map[string]bool{}
	for _, name := range names {
		all[name] = true
	}
	return all
}

func TestPlan(t *testing.T) {
	// A batch is what was asked for together: with it come those of its machines
	// that are there.
	type batch struct{ asked, there string }
	for name, test := range map[string]struct {
		there    []batch
		finished string
		m, w     int
		want     string
	}{
		"a new environment gets one manager and two workers": {want: "m1 w1 w2"},
		"a new environment as asked":                         {m: 3, w: 2, want: "m1 m2 m3 w1 w2"},
		"a new environment of managers alone":                {m: 1, want: "m1"},

		"a complete environment needs nothing":       {[]batch{{"m1 w1 w2", "m1 w1 w2"}}, "m1 w1 w2", 0, 0, ""},
		"workers more":                               {[]batch{{"m1 w1 w2", "m1 w1 w2"}}, "m1 w1 w2", 0, 2, "w3 w4"},
		"managers more":                              {[]batch{{"m1 w1 w2", "m1 w1 w2"}}, "m1 w1 w2", 2, 0, "m2 m3"},
		"both more":                                  {[]batch{{"m1", "m1"}}, "m1", 1, 1, "m2 w1"},
		"as many as there are means as many more":    {[]batch{{"m1 w1 w2", "m1 w1 w2"}}, "m1 w1 w2", 1, 2, "m2 w3 w4"},
		"a number from between is not given again":   {[]batch{{"m1 w1 w2 w3", "m1 w1 w3"}}, "m1 w1 w3", 0, 1, "w4"},
		"beyond nine":                                {[]batch{{"m1", "m1"}, {"w9 w10", "w9 w10"}}, "m1 w9 w10", 0, 1, "w11"},
		"a removed node of a finished batch is gone": {[]batch{{"m1 w1 w2", "m1 w2"}}, "m1 w2", 0, 0, ""},

		"an unfinished batch, asked for nothing":      {[]batch{{"m1 w1 w2", "m1"}}, "", 0, 0, "w1 w2"},
		"an unfinished batch, asked for the same":     {[]batch{{"m1 w1 w2", "m1"}}, "", 1, 2, "w1 w2"},
		"an unfinished batch, asked for more":         {[]batch{{"m1 w1 w2", "m1"}}, "", 0, 1, "w1 w2 w3"},
		"an unfinished batch, asked for a manager":    {[]batch{{"m1 w1 w2", "m1 w1"}}, "", 1, 0, "w2 m2"},
		"an unfinished batch without its manager":     {[]batch{{"m1 w1 w2", "w2"}}, "", 0, 0, "m1 w1"},
		"the same, asked for workers":                 {[]batch{{"m1 w1", "w1"}}, "", 0, 1, "m1 w2"},
		"an unfinished batch, all made":               {[]batch{{"m1 w1 w2", "m1 w1 w2"}}, "", 0, 0, ""},
		"an unfinished batch, all made, the same":     {[]batch{{"m1 w1 w2", "m1 w1 w2"}}, "", 1, 2, ""},
		"made, never started":                         {[]batch{{"m1 w1 w2", "m1? w1 w2?"}}, "", 0, 0, "m1 w2"},
		"made, never started, the same":               {[]batch{{"m1 w1 w2", "m1? w1 w2?"}}, "", 1, 2, "m1 w2"},
		"made, never started, asked for more":         {[]batch{{"m1 w1 w2", "m1? w1 w2?"}}, "", 0, 2, "m1 w2 w3 w4"},
		"a second batch, unfinished":                  {[]batch{{"m1 w1", "m1 w1"}, {"w2 w3", "w3"}}, "m1 w1", 0, 0, "w2"},
		"a second batch, unfinished, the same":        {[]batch{{"m1 w1", "m1 w1"}, {"w2 w3", "w3"}}, "m1 w1", 0, 2, "w2"},
		"a second batch, unfinished, other numbers":   {[]batch{{"m1 w1", "m1 w1"}, {"w2 w3", "w3"}}, "m1 w1", 0, 1, "w2 w4"},
		"partly finished: the missing was removed":    {[]batch{{"m1 w1 w2 w3", "m1 w1 w3"}}, "m1 w1", 0, 0, ""},
		"partly finished, a fresh one is started":     {[]batch{{"m1 w1 w2", "m1 w1 w2?"}}, "m1 w1", 0, 0, "w2"},
		"a machine that says nothing of its batch":    {[]batch{{"m1", "m1"}, {"", "w1"}}, "m1", 0, 0, ""},
		"an environment of other driver's names only": {[]batch{{"m3", "m3"}}, "m3", 1, 0, "m4"},
	} {
		t.Run(name, func(t *testing.T) {
			var all []providers.Machine
			for _, b := range test.there {
				all = append(all, parseMachines(b.there, longs(b.asked)...)...)
			}
			specs, err := plan("dev", all, set(longs(test.finished)), CreateOptions{Managers: test.m, Workers: test.w})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range specs {
				got = append(got, s.Name)
				if s.Env != "dev" || s.Role != parseMachines(shorten(s.Name))[0].Role || !slices.Contains(s.Batch, s.Name) {
					t.Errorf("spec %+v", s)
				}
			}
			if want := longs(test.want); !slices.Equal(got, want) {
				t.Errorf("makes %v, not %v", got, want)
			}
		})
	}
}

func shorten(name string) string {
	return strings.NewReplacer("dev-manager-", "m", "dev-worker-", "w").Replace(name)
}

func TestPlanRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		there string
		o     CreateOptions
	}{
		"an environment without a manager":   {"", CreateOptions{Workers: 2}},
		"more workers where no manager is":   {"w1", CreateOptions{Workers: 1}},
		"nothing where no manager is":        {"w1", CreateOptions{}},
		"fewer than no managers":             {"m1", CreateOptions{Managers: -1}},
		"fewer than no workers":              {"m1", CreateOptions{Managers: 1, Workers: -1}},
		"more managers than are good":        {"", CreateOptions{Managers: 8}},
		"one more than are good":             {"m1 m2 m3 m4 m5 m6 m7", CreateOptions{Managers: 1}},
		"fewer than none in a new one, both": {"", CreateOptions{Managers: -1, Workers: -1}},
	} {
		specs, err := plan("dev", parseMachines(test.there), nil, test.o)
		var wrong usage.Error
		if !errors.As(err, &wrong) || strings.Contains(wrong.Error(), "\n") {
			t.Errorf("%s: specs %v, error %v", name, specs, err)
		}
	}
}

func TestPlanSpreadsOverRegionsInTurn(t *testing.T) {
	specs, err := plan("dev", nil, nil, CreateOptions{Managers: 3, Workers: 2, Regions: []string{"fra1", "ams3"}, Image: "node:1"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range specs {
		got = append(got, shorten(s.Name)+" "+s.Region)
		if s.Image != "node:1" {
			t.Errorf("%s is made of %q", s.Name, s.Image)
		}
	}
	if want := []string{"m1 fra1", "m2 ams3", "m3 fra1", "w1 ams3", "w2 fra1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, not %v", got, want)
	}
}

func TestPlanWithoutRegionsLeavesThemToTheDriver(t *testing.T) {
	specs, err := plan("dev", nil, nil, CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range specs {
		if s.Region != "" {
			t.Errorf("%s goes to %q", s.Name, s.Region)
		}
	}
}

// Whatever a killed create had made of its machines, the same command again, and
// one that asks for no numbers, end with exactly those that were asked for.
func TestPlanCompletesWhatAKilledCreateLeft(t *testing.T) {
	for _, before := range []string{"", "m1 w1", "m1 m2 m3 w2 w7"} {
		for m := range 3 {
			for w := range 4 {
				if m+w == 0 || before == "" && m == 0 {
					continue
				}
				old := parseMachines(before, longs(before)...)
				asked, err := plan("dev", old, set(longs(before)), CreateOptions{Managers: m, Workers: w})
				if err != nil {
					t.Fatal(err)
				}
				eachRemnant(asked, func(left []providers.Machine) {
					what := fmt.Sprintf("after %q, -m %d -w %d and %v", before, m, w, left)
					checkCompletes(t, what, old, left, asked, CreateOptions{Managers: m, Workers: w})
					if len(left) > 0 { // else nobody can know that anything was asked for
						checkCompletes(t, what+", asking for nothing", old, left, asked, CreateOptions{})
					}
				})
			}
		}
	}
}

// eachRemnant calls back with all ways in which the machines can be half made:
// each not at all, not yet started, or running.
func eachRemnant(asked []providers.Spec, each func(left []providers.Machine)) {
	ways := 1
	for range asked {
		ways *= 3
	}
	for way := range ways {
		var left []providers.Machine
		for _, s := range asked {
			state := way % 3
			way /= 3
			if state == 0 {
				continue
			}
			left = append(left, providers.Machine{
				Env: s.Env, Name: s.Name, Role: s.Role, Batch: s.Batch, Running: state == 2, Fresh: state == 1,
			})
		}
		each(left)
	}
}

func checkCompletes(t *testing.T, what string, old, left []providers.Machine, asked []providers.Spec, o CreateOptions) {
	t.Helper()
	var finished, want, got []string
	for _, m := range old {
		finished = append(finished, m.Name)
	}
	specs, err := plan("dev", slices.Concat(old, left), set(finished), o)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	for _, s := range asked {
		want = append(want, s.Name)
	}
	for _, m := range left {
		if !m.Fresh {
			got = append(got, m.Name)
		}
	}
	for _, s := range specs {
		got = append(got, s.Name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, not %v", what, got, want)
	}
}

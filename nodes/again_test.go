package nodes

import (
	"slices"
	"testing"

	"skep/providers"
)

// Labels, which finish a node, are set one after another: a create that is
// killed between two of them leaves a batch that is finished in part.
func TestPlanOfACreateKilledWhileItLabelled(t *testing.T) {
	asked := longs("m1 w1 w2")
	all := parseMachines("m1 w1 w2", asked...)
	for _, finished := range []string{"m1", "m1 w1", "w2", "m1 w2"} {
		for _, o := range []CreateOptions{{}, {Managers: 1, Workers: 2}} {
			if specs, err := plan("dev", all, set(longs(finished)), o); err != nil || len(specs) > 0 {
				t.Errorf("with %s finished, %+v makes %v, %v", finished, o, specs, err)
			}
		}
	}
}

// A create with other numbers than those of the unfinished batch makes both;
// killed as well, and run again, it makes no third.
func TestPlanOfASecondKilledCreate(t *testing.T) {
	first := parseMachines("m1 w1", longs("m1 w1 w2")...)
	specs, err := plan("dev", first, nil, CreateOptions{Workers: 1})
	if err != nil || len(specs) != 2 {
		t.Fatalf("%+v, %v", specs, err)
	}
	for i, s := range specs { // either of the two was made when it was killed
		all := append(slices.Clone(first), providers.Machine{Env: "dev", Name: s.Name, Role: s.Role, Batch: s.Batch, Running: true})
		again, err := plan("dev", all, nil, CreateOptions{Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(again) != 1 || again[0].Name != specs[1-i].Name {
			t.Errorf("after %s it makes %+v", s.Name, again)
		}
	}
}

func TestPlanOfAMachineThatSaysNothingOfItsBatch(t *testing.T) {
	all := parseMachines("m1 w1", "") // the label is there, and empty
	specs, err := plan("dev", all, set(longs("m1")), CreateOptions{Workers: 1})
	if err != nil || len(specs) != 1 || specs[0].Name != "dev-worker-2" {
		t.Errorf("%+v, %v", specs, err)
	}
}

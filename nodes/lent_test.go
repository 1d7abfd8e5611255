package nodes

import (
	"context"
	"errors"
	"strings"
	"testing"

	"skep/providers"
)

// lender is a driver of hosts that were there before.
type lender struct {
	*fake
	abandoned []string
}

func (l *lender) Abandon(_ context.Context, machines []providers.Machine) error {
	l.abandoned = append(l.abandoned, names(machines)...)
	l.machines = nil
	return nil
}

func hostsOf(short string) []providers.Machine {
	all := parseMachines(short)
	for i := range all {
		all[i].Host, all[i].Running = "root@"+all[i].Name, true
	}
	return all
}

func TestHostsAreGivenUpOnlyWhenThatIsSaid(t *testing.T) {
	silent := errors.New("no answer from root@web")
	l := &lender{fake: &fake{machines: hostsOf("w1"), purgeErr: silent}}
	e, told := environment(t, l)
	if err := e.RemoveAll(t.Context(), false); !errors.Is(err, silent) || l.abandoned != nil {
		t.Errorf("unasked: %v, forgot %v", err, l.abandoned)
	}
	if err := e.RemoveAll(t.Context(), true); err != nil || strings.Join(l.abandoned, " ") != "dev-worker-1" {
		t.Errorf("asked: %v, forgot %v", err, l.abandoned)
	}
	if !strings.Contains(told.String(), silent.Error()) {
		t.Errorf("what stays is not told: %s", told)
	}
	// A machine that skep made is never given up.
	d := &fake{machines: parseMachines("w1"), purgeErr: silent}
	e, _ = environment(t, d)
	if err := e.RemoveAll(t.Context(), true); !errors.Is(err, silent) {
		t.Errorf("a machine of skep's own: %v", err)
	}
}

func TestHostsLeaveBeforeMachinesGo(t *testing.T) {
	made, lent := &fake{}, &lender{fake: &fake{}}
	for range 10 { // maps have no order
		order := lendersFirst(map[string]providers.Driver{"a": made, "b": lent, "c": made})
		if len(order) != 3 || order[0] != providers.Driver(lent) {
			t.Fatalf("order %v", order)
		}
	}
}

func TestStopLeavesHostsRunning(t *testing.T) {
	l := &lender{fake: &fake{machines: hostsOf("m1 w1")}}
	e, _ := environment(t, l)
	if err := e.Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "not skep's to stop") {
		t.Errorf("nothing but hosts: %v", err)
	}
	l.machines[1].Host = ""
	if err := e.Stop(t.Context()); err != nil {
		t.Errorf("a machine beside a host: %v", err)
	}
	l.has(t, "stop w1")
}

package providers

import (
	"fmt"
	"slices"
	"testing"
)

func TestNumber(t *testing.T) {
	for name, want := range map[string]int{
		"dev-worker-1": 1, "dev-worker-12": 12, "dev-worker-007": 7,
		"dev-manager-1": 0, "dev-worker-": 0, "dev-worker-x": 0, "dev-worker-1x": 0, "dev-worker-1-2": 0,
		"7": 0, "dev-worker--1": 0, "dev-worker-+1": 0, "dev-worker-99999999999999999999": 0,
		"tst-worker-1": 0, "worker": 0, "": 0,
	} {
		if got := (Machine{Env: "dev", Role: Worker, Name: name}).Number(); got != want {
			t.Errorf("%s: %d, not %d", name, got, want)
		}
	}
	// Names of environments hold dashes, roles and numbers themselves.
	if got := (Machine{Env: "dev-worker-2", Role: Worker, Name: "dev-worker-2-worker-3"}).Number(); got != 3 {
		t.Errorf("got %d", got)
	}
}

func FuzzNumber(f *testing.F) {
	f.Add("dev", uint16(1))
	f.Add("dev-worker-2", uint16(65535))
	f.Add("", uint16(0))
	f.Fuzz(func(t *testing.T, env string, n uint16) {
		for _, role := range []Role{Manager, Worker} {
			m := Machine{Env: env, Role: role, Name: fmt.Sprintf("%s-%s-%d", env, role, n)}
			if got := m.Number(); got != int(n) {
				t.Errorf("%s: %d", m.Name, got)
			}
		}
	})
}

func TestSort(t *testing.T) {
	want := []string{"dev-manager-1", "dev-manager-2", "dev-worker-2", "dev-worker-10", "tst-manager-1", "tst-worker-1"}
	machines := []Machine{
		{Env: "tst", Role: Worker, Name: "tst-worker-1"},
		{Env: "dev", Role: Worker, Name: "dev-worker-10"},
		{Env: "dev", Role: Manager, Name: "dev-manager-2"},
		{Env: "tst", Role: Manager, Name: "tst-manager-1"},
		{Env: "dev", Role: Worker, Name: "dev-worker-2"},
		{Env: "dev", Role: Manager, Name: "dev-manager-1"},
	}
	Sort(machines)
	var got []string
	for _, m := range machines {
		got = append(got, m.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

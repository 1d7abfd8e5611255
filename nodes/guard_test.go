package nodes

import (
	"fmt"
	"slices"
	"testing"

	"skep/providers"
	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
)

// Let in are machines where the others reach them and members where they say
// that they are, a manager by what it says as such; no other address of either.
func TestRulesKnowEveryNode(t *testing.T) {
	v := found(t, "m1 w1")
	for i := range v.d.machines {
		v.d.machines[i].Address = fmt.Sprintf("203.0.113.%d", i+1)
		v.d.machines[i].PrivateAddress = fmt.Sprintf("10.0.0.%d", i+1)
	}
	v.members[0].Status.Addr = "0.0.0.0"
	v.members[0].ManagerStatus.Addr = "203.0.113.1:2377"
	v.members[1].Status.Addr = "203.0.113.9" // whatever its provider says
	manager, err := v.e.Manager(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		private bool
		manager *swarm.Engine
		want    []string
	}{
		{false, nil, []string{"203.0.113.1", "203.0.113.2"}},
		{true, nil, []string{"10.0.0.1", "10.0.0.2"}},
		{false, manager, []string{"203.0.113.1", "203.0.113.2", "203.0.113.1", "203.0.113.9"}},
	} {
		r, err := v.e.rules(t.Context(), v.d.machines, c.manager, c.private)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range r.Nodes {
			got = append(got, a.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("private %v: %v, want %v", c.private, got, c.want)
		}
	}
}

// Machines on this computer are asked nothing: the village plays no sessions.
func TestLocalNodesHaveNoFirewall(t *testing.T) {
	v := found(t, "m1 w1")
	for i := range v.d.machines {
		v.d.machines[i].Local = true
	}
	if left := remote(v.d.machines); len(left) > 0 {
		t.Errorf("remote: %v", left)
	}
	f := &forming{env: v.e}
	if err := f.guard(t.Context(), v.d.machines[0], nil); err != nil {
		t.Error(err)
	}
	if err := v.e.UpdateFirewall(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAddressOfAMember(t *testing.T) {
	for want, n := range map[string]api.Node{
		"10.0.0.1":    {Status: api.NodeStatus{Addr: "10.0.0.1"}},
		"2001:db8::1": {Status: api.NodeStatus{Addr: "0.0.0.0"}, ManagerStatus: &api.ManagerStatus{Addr: "[2001:db8::1]:2377"}},
	} {
		if got := swarm.Address(n); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// What outlives the environment keeps nothing of it; what does not is not asked.
func TestReleaseAsksLentMachinesAlone(t *testing.T) {
	v := found(t, "m1")
	if err := v.e.release(t.Context(), []providers.Machine{{Name: "dev-worker-9", Running: true}, {Name: "dev-worker-8", Host: "root@192.0.2.1"}}); err != nil {
		t.Error(err)
	}
	v.has()
}

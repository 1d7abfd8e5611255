package nodes

import (
	"errors"
	"strings"
	"testing"

	"skep/providers"
)

// drivers are one that has machines, one that is out of reach and one that has
// nothing to work with.
func drivers(t *testing.T, there []providers.Machine) (e *Environment, told func() string, broken *fake) {
	t.Helper()
	broken = &fake{listErr: errors.New("no route to the cloud")}
	e, out := environment(t, &fake{machines: there})
	e.Drivers["cloud"] = broken
	e.Drivers["none"] = &fake{listErr: providers.ErrAbsent}
	return e, out.String, broken
}

func TestADriverOutOfReachIsNamedAndLeftOut(t *testing.T) {
	e, told, broken := drivers(t, parseMachines("m1? w1?"))
	found, err := e.List(t.Context())
	if err != nil || len(found) != 2 {
		t.Errorf("%+v, %v", found, err)
	}
	if !strings.Contains(told(), broken.listErr.Error()) || strings.Contains(told(), providers.ErrAbsent.Error()) {
		t.Errorf("told %q", told())
	}
}

// What is to be changed must be seen whole; machines on this computer are.
func TestChangesWantEveryDriverToAnswer(t *testing.T) {
	e, _, broken := drivers(t, parseMachines("m1 w1"))
	if _, err := e.Machines(t.Context()); !errors.Is(err, broken.listErr) {
		t.Errorf("error %v", err)
	}
	here := parseMachines("m1 w1")
	for i := range here {
		here[i].Local = true
	}
	e, _, _ = drivers(t, here)
	if all, err := e.Machines(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestMachinesThatCannotMeetAreRefused(t *testing.T) {
	here := providers.Machine{Env: "dev", Name: "dev-worker-1", Driver: "docker", Local: true, Address: "10.201.0.2", PrivateAddress: "10.201.0.2"}
	public := providers.Machine{Env: "dev", Name: "dev-worker-2", Driver: "digitalocean", Address: "203.0.113.5", PrivateAddress: "10.110.0.2"}
	inside := providers.Machine{Env: "dev", Name: "dev-worker-3", Driver: "ssh", Address: "192.168.1.7"}
	for name, test := range map[string]struct {
		all     []providers.Machine
		private bool
		want    string
	}{
		"alike":                     {[]providers.Machine{public, public}, false, ""},
		"on this computer, and not": {[]providers.Machine{public, here}, false, "dev-worker-1 (docker) is on this computer alone"},
		"behind NAT":                {[]providers.Machine{public, inside}, false, "dev-worker-3 has only the private address 192.168.1.7 and is behind NAT"},
		"at private addresses":      {[]providers.Machine{public, public}, true, ""},
		"that one of them has not":  {[]providers.Machine{public, inside}, true, "dev-worker-3 has no private address"},
	} {
		err := meets(test.all, test.private)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

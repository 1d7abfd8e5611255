package nodes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"skep/providers"
	"skep/tunnel"
)

// settling is a driver whose machines have a first boot, which ends in turn as
// the list says.
type settling struct {
	*fake
	ends []error
}

func (s *settling) Settle(_ context.Context, conn *tunnel.Conn) error {
	if conn.Name() != "dev-manager-1" {
		return fmt.Errorf("asked of %s", conn.Name())
	}
	end := s.ends[0]
	s.ends = s.ends[1:]
	return end
}

func TestAFirstBootIsWaitedFor(t *testing.T) {
	v := found(t, "m1")
	d := &settling{fake: v.d, ends: []error{errors.New("connection lost"), nil}}
	v.e.Drivers["fake"] = d
	if _, err := v.e.boot(t.Context(), v.d.machines[0]); err != nil || len(d.ends) > 0 {
		t.Fatalf("%v, and %d more to come", err, len(d.ends))
	}
	d.ends = []error{fmt.Errorf("dev-manager-1: %w: no package docker.io", providers.ErrBoot), nil}
	if _, err := v.e.boot(t.Context(), v.d.machines[0]); !errors.Is(err, providers.ErrBoot) || len(d.ends) != 1 {
		t.Errorf("%v, and %d more to come", err, len(d.ends))
	}
}

func TestANewMachineHasNoHostKeyOfAnEarlierOne(t *testing.T) {
	v := found(t, "m1 w1")
	pins := v.e.Home.KnownHosts("dev")
	if err := v.e.unpin([]providers.Spec{{Env: "dev", Name: "dev-worker-1"}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(pins)
	if err != nil || strings.Contains(string(text), "dev-worker-1") || !strings.Contains(string(text), "dev-manager-1") {
		t.Errorf("%s, %v", text, err)
	}
	if err := os.Remove(pins); err != nil {
		t.Fatal(err)
	}
	if err := v.e.unpin([]providers.Spec{{Env: "dev", Name: "dev-worker-1"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(pins); err == nil {
		t.Error("a file of pins was made for none")
	}
}

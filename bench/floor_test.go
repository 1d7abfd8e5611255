//go:build linux

package main

import (
	"net/netip"
	"slices"
	"testing"
)

func TestFloorNames(t *testing.T) {
	f := newFloor("bench-1-floor", &node{}, 2)
	if want := []string{"bench-1-floor-manager-1", "bench-1-floor-worker-1", "bench-1-floor-worker-2"}; !slices.Equal(f.names, want) {
		t.Errorf("names are %q, want %q", f.names, want)
	}
}

func TestFloorAddresses(t *testing.T) {
	subnet := netip.MustParsePrefix("10.201.255.0/24")
	if got, want := addresses(subnet, 3), []string{"10.201.255.2", "10.201.255.3", "10.201.255.4"}; !slices.Equal(got, want) {
		t.Errorf("addresses(%s) = %q, want %q", subnet, got, want)
	}
	if got, want := after(subnet), netip.MustParsePrefix("10.202.0.0/24"); got != want {
		t.Errorf("after(%s) = %s, want %s", subnet, got, want)
	}
}

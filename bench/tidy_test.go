//go:build linux

package main

import (
	"fmt"
	"os"
	"testing"
)

func TestOnlyWhatAGoneRunMadeIsAnOrphan(t *testing.T) {
	const gone = 1 << 30 // above any limit that the kernel allows
	for name, want := range map[string]bool{
		fmt.Sprintf("bench-%d-skep", gone):         true,
		fmt.Sprintf("bench-%d-three", gone):        true,
		fmt.Sprintf("bench-%d-skep", os.Getpid()):  false,
		fmt.Sprintf("bench-%d", gone):              false,
		fmt.Sprintf("bench-%d-other", gone):        false,
		fmt.Sprintf("my-bench-%d-skep", gone):      false,
		"bench-99999999999999999999999999999-skep": false,
		"dev": false,
	} {
		if got := orphan(name, ourEnv); got != want {
			t.Errorf("orphan(%q) = %v, want %v", name, got, want)
		}
	}
	if name := fmt.Sprintf("/tmp/skep-bench-%d-123", gone); !orphan(name, ourHome) {
		t.Errorf("the folder %s is not taken for an orphan", name)
	}
}

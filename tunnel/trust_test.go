package tunnel

import (
	"errors"
	"os"
	"testing"
)

// A machine that nobody can vouch for is taken at its word once, and held to it.
func TestAFirstContactIsPinned(t *testing.T) {
	s := startServer(t)
	e := s.endpoint(t)
	if err := os.Remove(e.KnownHosts); err != nil {
		t.Fatal(err)
	}
	if _, err := Connect(t.Context(), e); !errors.Is(err, ErrNotPinned) {
		t.Fatalf("without trust: %v", err)
	}
	e.TrustFirst, e.Comment = true, "cloud"
	conn, err := Connect(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if !pinned(t, e.KnownHosts, e.Name, s.hostKey.PublicKey()) {
		t.Error("it was not pinned")
	}
	if got := Comments(e.KnownHosts)[e.Name]; got != "cloud" {
		t.Errorf("the comment is %q", got)
	}
	other := startServer(t)
	e.Address, e.KeyFile = other.endpoint(t).Address, other.keyFile
	if _, err := Connect(t.Context(), e); !errors.Is(err, ErrOtherKey) {
		t.Errorf("another machine: %v", err)
	}
}

package cmd

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skep/home"
)

// Whoever is asked and has nothing to say is not kept.
func TestTheQuestionEndsWithItsContext(t *testing.T) {
	in, nobody := io.Pipe()
	defer func() { _ = nobody.Close() }()
	why := errors.New("stopped by interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	s := &skep{Streams: Streams{In: in, Err: io.Discard}}
	if err := s.confirm(ctx, "dev", "removes it"); !errors.Is(err, why) {
		t.Error(err)
	}
}

// A tunnel that does not close keeps no machine that costs money.
func TestRemovalGoesOnWhereATunnelDoesNotClose(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file") // where a folder should be
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &skep{home: home.Dir{Config: filepath.Join(file, "config"), State: filepath.Join(file, "state")}, Streams: Streams{Err: io.Discard}}
	gone := errors.New("the engine is away")
	for _, of := range []func(string) bool{nil, func(string) bool { return true }} {
		err := s.remove(t.Context(), "dev", of, func(context.Context) error { return gone })
		if !errors.Is(err, gone) || !strings.Contains(err.Error(), file) {
			t.Errorf("%v, not both errors", err)
		}
	}
}

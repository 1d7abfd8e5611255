package swarm

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"testing"

	"skep/tunnel"
)

func TestCommonLayersAreCountedFromTheBottom(t *testing.T) {
	for _, test := range []struct {
		a, b []string
		want int
	}{
		{nil, nil, 0}, {[]string{"a"}, nil, 0}, {[]string{"a", "b"}, []string{"a", "c"}, 1},
		{[]string{"a", "b", "c"}, []string{"a", "b"}, 2}, {[]string{"x", "b"}, []string{"a", "b"}, 0},
	} {
		if got := common(test.a, test.b); got != test.want {
			t.Errorf("%v and %v: %d", test.a, test.b, got)
		}
	}
}

func TestRelayedTellsWhoMissedIt(t *testing.T) {
	missed := relayed("Loaded image: hello:0.1\nmissed dev-worker-1 ssh: connect to host 10.0.0.3 port 22: No route to host\nmissed dev-worker-2 \n")
	if names := slices.Sorted(maps.Keys(missed)); !slices.Equal(names, []string{"dev-worker-1", "dev-worker-2"}) {
		t.Errorf("%v", names)
	}
	if missed["dev-worker-1"].Error() != "ssh: connect to host 10.0.0.3 port 22: No route to host" {
		t.Errorf("%v", missed["dev-worker-1"])
	}
}

func TestQuoteKeepsAShellFromReadingIt(t *testing.T) {
	if got := quote(`a 'b' $(c)`); got != `'a '\''b'\'' $(c)'` {
		t.Error(got)
	}
}

// freight is a cargo that writes so many bytes, or fails.
type freight struct {
	bytes int
	err   error
}

func (f freight) IDs() []string           { return nil }
func (f freight) Layers() []string        { return nil }
func (f freight) Size(int) (int64, error) { return int64(f.bytes), nil }
func (f freight) WriteTo(w io.Writer, _ int) error {
	_, err := w.Write(make([]byte, f.bytes))
	return errors.Join(f.err, err)
}

func TestAStreamCountsAndTellsWhatWentWrong(t *testing.T) {
	e := &Engine{conn: &tunnel.Conn{}}
	var last Sent
	r, written, err := e.stream(freight{bytes: 5000}, 0, func(s Sent) { last = s })
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(content, make([]byte, 5000)) || <-written != nil || last.Bytes != 5000 || last.Size != 5000 {
		t.Errorf("%d bytes, %v, %+v", len(content), err, last)
	}
	broken := errors.New("cannot read the layer")
	r, written, err = e.stream(freight{bytes: 5000, err: broken}, 0, func(Sent) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, broken) {
		t.Errorf("the engine would take it for whole: %v", err)
	}
	if err := <-written; !errors.Is(err, broken) {
		t.Error(err)
	}
	// An engine that wants no more is no fault of the writer.
	r, written, err = e.stream(freight{bytes: 5000}, 0, func(Sent) {})
	if err != nil {
		t.Fatal(err)
	}
	_ = r.CloseWithError(errors.New("no space left"))
	if err := <-written; err != nil {
		t.Error(err)
	}
}

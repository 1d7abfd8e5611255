package cmd

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"skep/swarm"
)

func TestTravel(t *testing.T) {
	for want, s := range map[string]swarm.Sent{
		"50MB of 150MB, 25MB/s, 4s left": {Bytes: 50e6, Size: 150e6},
		"150MB of 150MB, 75MB/s, 2s":     {Bytes: 150e6, Size: 150e6},
		"0B of 150MB, 0B/s":              {Size: 150e6},
	} {
		if got := travel(s, 2*time.Second); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

func TestProgressIsALineANode(t *testing.T) {
	tell := func(terminal, quiet bool) string {
		var out bytes.Buffer
		p := &progress{log: slog.New(slog.DiscardHandler), out: &out, terminal: terminal, quiet: quiet}
		p.Begin("hello:0.1", 2, 3)
		p.Sent(swarm.Sent{Node: "dev-worker-2", Bytes: 5, Size: 10})
		p.Sent(swarm.Sent{Node: "dev-worker-1", Bytes: 10, Size: 10})
		p.tell()
		p.begun, p.told = p.begun.Add(-time.Hour), time.Now().Add(time.Hour)
		p.Sent(swarm.Sent{Node: "dev-worker-2", Bytes: 10, Size: 10})
		p.End()
		return out.String()
	}
	plain := tell(false, false)
	if strings.ContainsAny(plain, "\x1b\r") || strings.Count(plain, "\n") != 3 || strings.Index(plain, "dev-worker-1: 10B of 10B") > strings.Index(plain, "dev-worker-2") {
		t.Errorf("%q", plain)
	}
	drawn := tell(true, false)
	if strings.Count(drawn, "\x1b[2A") != 1 {
		t.Errorf("%q is not drawn over", drawn)
	}
	// What a node took is no longer than until it had all, whatever others take.
	if _, last, _ := strings.Cut(drawn, "\x1b[2A"); !strings.Contains(last, "dev-worker-1: 10B of 10B") || strings.Count(last, "1h0m") != 1 {
		t.Errorf("in the end: %q", last)
	}
}

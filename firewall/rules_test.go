package firewall

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func TestRules(t *testing.T) {
	r := Rules{
		Nodes: []netip.Addr{
			netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7"),
			netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("::ffff:203.0.113.5"),
		},
		Ports: []Port{{443, "tcp"}, {8001, "tcp"}, {8000, "tcp"}, {8002, "tcp"}, {443, "tcp"}, {2376, "tcp"}, {53, "udp"}, {2376, "udp"}, {7000, "sctp"}},
	}
	for name, text := range map[string]string{
		"full.v4": r.text(v4()), "full.v6": r.text(v6()), "empty.v4": Rules{}.text(v4()), "empty.v6": Rules{}.text(v6()),
	} {
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if text != string(want) {
			t.Errorf("%s is\n%s", name, text)
		}
	}
}

// machine is one that answers as it is told to.
type machine struct {
	out            string
	err            error
	command, stdin string
}

func (m *machine) Name() string { return "prd-worker-1" }

func (m *machine) Run(_ context.Context, command string, stdin io.Reader) (string, error) {
	text, err := io.ReadAll(stdin)
	m.command, m.stdin = command, string(text)
	return m.out, errors.Join(err, m.err)
}

// What the rules say is in nobody's process list.
func TestArgumentsTellNothing(t *testing.T) {
	m := &machine{out: "kept\n"}
	s, err := Install(t.Context(), m, Rules{Nodes: []netip.Addr{netip.MustParseAddr("203.0.113.7")}})
	if err != nil || s != Kept {
		t.Errorf("install: %q, %v", s, err)
	}
	if strings.Contains(m.command, "203.0.113.7") || !strings.Contains(m.stdin, "203.0.113.7") {
		t.Errorf("the command is %s", m.command)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		do   func(context.Context, Machine) error
		want string
	}{
		{func(ctx context.Context, m Machine) error { _, err := Install(ctx, m, Rules{}); return err }, "guard prd-worker-1 by a firewall: no iptables (--no-firewall goes without)"},
		{func(ctx context.Context, m Machine) error { _, err := Update(ctx, m, Rules{}); return err }, "update the firewall of prd-worker-1: no iptables"},
		{Remove, "remove the firewall of prd-worker-1: no iptables"},
	} {
		err := c.do(t.Context(), &machine{err: errors.New("no iptables")})
		if err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

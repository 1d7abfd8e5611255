package services

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"skep/usage"
)

// refused checks that an error is one line about wrong usage.
func refused(t *testing.T, what string, err error) {
	t.Helper()
	var wrong usage.Error
	if !errors.As(err, &wrong) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: %v", what, err)
	}
}

func TestParsePort(t *testing.T) {
	for text, want := range map[string]Port{
		"80":          {80, 80, ""},
		"80:9090":     {80, 9090, ""},
		"53/udp":      {53, 53, "udp"},
		"53:5353/udp": {53, 5353, "udp"},
		"80/tcp":      {80, 80, ""},
		"65535:1":     {65535, 1, ""},
	} {
		if got, err := ParsePort(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "-80", "http", "65536", "80:", ":80", "80:0", "80:65536", "80/sctp", "80/", "1:2:3", "0x50", "80 ", "4294967376"} {
		_, err := ParsePort(text)
		refused(t, text, err)
	}
}

func TestParseMount(t *testing.T) {
	for text, want := range map[string]Mount{
		"data:/data":        {"data", "/data", false},
		"data:/data:ro":     {"data", "/data", true},
		"data:/data/:rw":    {"data", "/data", false},
		"/etc/ssl:/ssl:ro":  {"/etc/ssl", "/ssl", true},
		"/srv:/srv/../srv2": {"/srv", "/srv2", false},
	} {
		if got, err := ParseMount(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "data", ":/data", "data:", "data:data", "data:/", "data:/..", "a/b:/data", "../b:/data", "data:/data:rx", "a:/b:ro:ro"} {
		_, err := ParseMount(text)
		refused(t, text, err)
	}
}

func TestParsePlacement(t *testing.T) {
	var p Placement
	for _, text := range []string{"spread=region", "spread=rack", "spread=node.id", "node.role==worker", "node.labels.disk!=slow"} {
		if err := p.ParsePlacement(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	want := Placement{
		Spread:      []string{"node.labels.skep.region", "node.labels.rack", "node.id"},
		Constraints: []string{"node.role==worker", "node.labels.disk!=slow"},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("%+v", p)
	}
	for _, text := range []string{"", "spread=", "region", "spread==region", "role==worker", "node.role", "node.role=worker"} {
		refused(t, text, p.ParsePlacement(text))
	}
}

func TestParseMemoryAndSecret(t *testing.T) {
	if n, err := ParseMemory("256m"); n != 256<<20 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, text := range []string{"", "much", "-1g", "5m", "1"} {
		_, err := ParseMemory(text)
		refused(t, text, err)
	}
	if s, err := ParseSecret("token:key.pem"); err != nil || s != (Secret{"token", "key.pem"}) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, text := range []string{"", ":a", "a:", "a/b"} {
		_, err := ParseSecret(text)
		refused(t, text, err)
	}
}

func TestParseHealth(t *testing.T) {
	for _, test := range []struct {
		text, probe string
		want        []string
	}{
		{"pg_isready -q", "", []string{"CMD-SHELL", "pg_isready -q"}},
		{"http://:9090/healthz", "/probe", []string{"CMD", "/probe", "http://127.0.0.1:9090/healthz"}},
		{"http:///healthz", "/probe", []string{"CMD", "/probe", "http://127.0.0.1/healthz"}},
		{"http://localhost/", "", []string{"CMD-SHELL", "wget -q -O /dev/null 'http://localhost/' || curl -fsS -o /dev/null 'http://localhost/'"}},
	} {
		if got, err := ParseHealth(test.text, test.probe); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: %q, %v", test.text, got, err)
		}
	}
	for _, text := range []string{"", "  ", "http://x/'; reboot '", "http://a b/", "http://[::1"} {
		_, err := ParseHealth(text, "")
		refused(t, text, err)
	}
	_, err := ParseHealth("https://localhost/", "/probe")
	refused(t, "TLS of a probe that speaks none", err)
}

func TestReadEnvFile(t *testing.T) {
	t.Setenv("SKEP_TEST_KNOWN", "from here")
	file := filepath.Join(t.TempDir(), "env")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("\ufeff# words\nA=1\n\n  B=two words # and more \r\nC=\nSKEP_TEST_KNOWN\nSKEP_TEST_UNKNOWN\nA=x=y\n")
	got, err := ReadEnvFile(file)
	want := []string{"A=1", "B=two words # and more ", "C=", "SKEP_TEST_KNOWN=from here", "A=x=y"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if merged := MergeEnv(got, []string{"C=3", "D=4"}); !reflect.DeepEqual(merged, []string{"A=x=y", "B=two words # and more ", "C=3", "SKEP_TEST_KNOWN=from here", "D=4"}) {
		t.Errorf("%q", merged)
	}
	for _, text := range []string{"=1\n", "A B=1\n"} {
		write(text)
		_, err := ReadEnvFile(file)
		refused(t, text, err)
	}
	if _, err := ReadEnvFile(file + ".nowhere"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

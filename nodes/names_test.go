package nodes

import (
	"errors"
	"strings"
	"testing"

	"skep/usage"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "dev", "tst", "prd-2", "d-", "a--b", "a" + strings.Repeat("9", 30)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "-dev", "2dev", "Dev", "dEv", "dev_2", "dev.2", "de v", " dev", "dev ", "dev\n", "\ndev", "dév", "dev/..", "../dev",
		"dev;reboot", "--help", "a" + strings.Repeat("9", 31),
	} {
		err := CheckName(name)
		var wrong usage.Error
		if !errors.As(err, &wrong) {
			t.Errorf("%q: error %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: more than a line: %q", name, err)
		}
	}
}

// A name becomes part of host names, paths and label filters: whatever is let
// through must be harmless in all of them.
func FuzzCheckName(f *testing.F) {
	for _, name := range []string{"dev", "prd-2", "", "Dev", "dev\n", "../dev", "dév", "a=b", strings.Repeat("a", 32)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		valid := len(name) >= 1 && len(name) <= 31
		for i, c := range []byte(name) {
			letter := 'a' <= c && c <= 'z'
			valid = valid && (letter || i > 0 && ('0' <= c && c <= '9' || c == '-'))
		}
		if err := CheckName(name); valid != (err == nil) {
			t.Errorf("%q: %v", name, err)
		}
	})
}

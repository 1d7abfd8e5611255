package home

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adrg/xdg"
)

func TestDefaultFollowsXDG(t *testing.T) {
	dir := t.TempDir()
	t.Cleanup(xdg.Reload) // once the variables are what they were
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	xdg.Reload()
	want := Dir{Config: filepath.Join(dir, "config", "skep"), State: filepath.Join(dir, "state", "skep")}
	if got := Default(); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("asking made %v, %v", files, err)
	}
}

func TestMakeKeepsFoldersToTheirOwner(t *testing.T) {
	dir := t.TempDir()
	d := Dir{Config: filepath.Join(dir, "a", "config"), State: filepath.Join(dir, "b", "state")}
	for range 2 { // the second finds them there
		if err := d.Make(); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{d.Config, d.State, filepath.Dir(d.KnownHosts("dev"))} {
		info, err := os.Stat(path)
		if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

func TestMakeSaysWhereItCannot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := Dir{Config: filepath.Join(file, "config"), State: t.TempDir()}.Make()
	var at *os.PathError
	if !errors.As(err, &at) || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v", err)
	}
}

// An environment may have the name of any of skep's own files but for its ending.
func TestNoTwoThingsShareAFile(t *testing.T) {
	d := Dir{Config: "/config", State: "/state"}
	seen := map[string]string{}
	add := func(what, path string) {
		if other, taken := seen[path]; taken {
			t.Errorf("%s is both %s and %s", path, other, what)
		}
		seen[path] = what
	}
	add("the key", d.Key())
	add("its public half", d.Key()+".pub")
	add("the tunnel table", d.TunnelTable())
	add("the folder of pins", filepath.Dir(d.KnownHosts("x")))
	for _, env := range []string{"dev", "tunnels", "known-hosts", "id-ed25519", "dev-tunnel"} {
		for what, path := range map[string]string{
			"pins": d.KnownHosts(env), "lock": d.Lock(env), "socket": d.TunnelSocket(env), "log": d.TunnelLog(env),
		} {
			add(what+" of "+env, path)
			if !strings.HasPrefix(path, d.State) {
				t.Errorf("%s of %s is at %s", what, env, path)
			}
		}
	}
}

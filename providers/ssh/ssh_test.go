package ssh

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skep/providers"
	"skep/usage"
)

func recorded(t *testing.T) *Driver {
	t.Helper()
	homeWith(t, "")
	d := &Driver{Folder: filepath.Join(t.TempDir(), "hosts")}
	err := d.change("prd", func(all []record) []record {
		return merge(all, []record{
			{Name: "prd-worker-1", Role: providers.Worker, Host: "deploy@203.0.113.6:2222", Address: "203.0.113.6", Batch: []string{"prd-manager-1", "prd-worker-1"}},
			{Name: "prd-manager-1", Role: providers.Manager, Host: "root@203.0.113.5", Address: "203.0.113.5", Prepared: true},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestListReadsTheRecord(t *testing.T) {
	d := recorded(t)
	for _, env := range []string{"prd", ""} {
		all, err := d.List(t.Context(), env)
		if err != nil || len(all) != 2 {
			t.Fatalf("%q: %v, %v", env, all, err)
		}
		m, w := all[0], all[1]
		if m.Name != "prd-manager-1" || m.Env != "prd" || !m.Lent() || !m.Running || m.Fresh || m.SSH.User != "root" || m.SSH.Address != "203.0.113.5:22" {
			t.Errorf("%+v", m)
		}
		if !w.Fresh || w.SSH.User != "deploy" || w.SSH.Address != "203.0.113.6:2222" || len(w.Batch) != 2 {
			t.Errorf("%+v", w)
		}
	}
	if _, err := d.List(t.Context(), "tst"); !errors.Is(err, providers.ErrAbsent) {
		t.Errorf("of no hosts: %v", err)
	}
	info, err := os.Stat(d.file("prd"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestAbandonForgets(t *testing.T) {
	d := recorded(t)
	all, err := d.List(t.Context(), "prd")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Abandon(t.Context(), all[:1]); err != nil {
		t.Fatal(err)
	}
	if left, err := d.List(t.Context(), "prd"); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if err := d.Abandon(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.file("prd")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty list is left: %v", err)
	}
	if err := d.Purge(t.Context(), "prd"); err != nil {
		t.Errorf("nothing left to purge: %v", err)
	}
}

func TestSpecsOfHosts(t *testing.T) {
	d := recorded(t)
	var wrong usage.Error
	for words, s := range map[string]providers.Spec{
		"--size":  {Size: "large", Host: "root@h"},
		"--image": {Image: "x", Host: "root@h"},
		"--host":  {Name: "prd-worker-2"},
		"option":  {Host: "root@h", Options: map[string]string{"x": "y"}},
	} {
		s.Env = "prd"
		if _, err := d.Check(t.Context(), []providers.Spec{s}); !errors.As(err, &wrong) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
	all, err := d.read("prd")
	if err != nil {
		t.Fatal(err)
	}
	s := providers.Spec{Env: "prd", Name: "prd-worker-1"} // what an earlier run began
	if err := complete(&s, all); err != nil || s.Host != "deploy@203.0.113.6:2222" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestHostsAreNotStopped(t *testing.T) {
	d := recorded(t)
	err := d.Stop(t.Context(), []providers.Machine{{Name: "prd-manager-1", Host: "root@203.0.113.5"}})
	if err == nil || !strings.Contains(err.Error(), "not skep's to stop") {
		t.Errorf("got %v", err)
	}
}

// A host that does not answer stays on record.
func TestWhatDoesNotAnswerIsKept(t *testing.T) {
	d := recorded(t)
	err := d.change("prd", func(all []record) []record {
		for i := range all {
			all[i].Host = "root@127.0.0.1:1"
		}
		return all
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Purge(t.Context(), "prd"); err == nil || !strings.Contains(err.Error(), "--yes-lose-data") || !strings.Contains(err.Error(), "root@127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
	if left, err := d.List(t.Context(), "prd"); err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
}

package dockermachine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"skep/providers"
	"skep/usage"
)

// help is what docker-machine 0.16 prints of two drivers, in part.
func help() string {
	return `case $3 in
google) echo "   --google-machine-type \"n1-standard-1\"	GCE machine type [\$GOOGLE_MACHINE_TYPE]
   --google-machine-image  x
   --google-preemptible	GCE Instance Preemptibility
   --google-zone \"us-central1-a\"	GCE Zone";;
virtualbox) echo "   --virtualbox-memory \"1024\"	Size of memory for host in MB";;
*) echo "Driver \"$3\" not found. Do you have the plugin binary \"docker-machine-driver-$3\" accessible in your PATH?" >&2; exit 1;;
esac`
}

// stand puts a docker-machine on PATH, and machines into its folder. What it is
// told is written to the file that is returned.
func stand(t *testing.T, script string, machines map[string]string) string {
	t.Helper()
	bin, store := t.TempDir(), t.TempDir()
	said := filepath.Join(t.TempDir(), "said")
	t.Setenv("MACHINE_STORAGE_PATH", store)
	path := bin
	if script != "" {
		path += string(os.PathListSeparator) + os.Getenv("PATH")
		text := "#!/bin/sh\necho \"$@\" >>" + said + "\n" + script + "\n"
		if err := os.WriteFile(filepath.Join(bin, "docker-machine"), []byte(text), 0o700); err != nil { // #nosec G306 -- a program
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", path)
	for name, config := range machines {
		folder := filepath.Join(store, "machines", name)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return said
}

const google = `{"DriverName":"google","Driver":{"IPAddress":"203.0.113.5","SSHUser":"docker-user","SSHPort":2022,"SSHKeyPath":"/k","Zone":"europe-west1-b"},
"HostOptions":{"EngineOptions":{"Labels":["skep.batch=dev-manager-1+dev-worker-1","skep.size=n1"]}}}`

func TestListAdoptsByName(t *testing.T) {
	stand(t, `case $1-$2 in status-dev-worker-1) echo Stopped;; status-*) echo Running;; ip-*) echo 192.168.99.104;; esac`, map[string]string{
		"dev-manager-1":   google,
		"dev-worker-1":    strings.ReplaceAll(google, `"google"`, `"digitalocean"`),
		"tst-x-manager-2": `{"DriverName":"virtualbox","Driver":{"IPAddress":"192.168.99.100","SSHUser":"docker","SSHPort":51022}}`,
		"default":         google,
		"dev-manager-0":   google,
	})
	d := &Driver{Own: []string{"digitalocean"}}
	all, err := d.List(t.Context(), "")
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	m, w, v := all[0], all[1], all[2]
	if m.Name != "dev-manager-1" || m.Env != "dev" || m.Role != providers.Manager || m.Driver != "google" || m.Region != "europe-west1-b" || m.Size != "n1" ||
		!m.Running || m.Local || m.Address != "203.0.113.5" || len(m.Batch) != 2 {
		t.Errorf("%+v", m)
	}
	if m.SSH.Address != "203.0.113.5:2022" || m.SSH.User != "docker-user" || m.SSH.KeyFile != "/k" || !m.SSH.TrustFirst {
		t.Errorf("%+v", m.SSH)
	}
	if w.Driver != "docker-machine:digitalocean" || w.Running {
		t.Errorf("%+v", w)
	}
	if v.Env != "tst-x" || !v.Local || v.SSH.Address != "192.168.99.104:22" || v.PrivateAddress != "192.168.99.104" || !strings.HasSuffix(v.SSH.KeyFile, "id_rsa") {
		t.Errorf("%+v", v)
	}
}

func TestWithoutDockerMachine(t *testing.T) {
	d := &Driver{Own: []string{"docker", "ssh"}}
	stand(t, "", nil)
	if _, err := d.List(t.Context(), "dev"); !errors.Is(err, providers.ErrAbsent) {
		t.Errorf("no machines: %v", err)
	}
	if err := d.Purge(t.Context(), "dev"); err != nil {
		t.Errorf("nothing to remove: %v", err)
	}
	if _, err := d.Check(t.Context(), []providers.Spec{{Driver: "google"}}); err == nil || !strings.Contains(err.Error(), "docker, ssh") || !strings.Contains(err.Error(), "install it") {
		t.Errorf("check: %v", err)
	}
	stand(t, "", map[string]string{"dev-manager-1": google})
	if _, err := d.List(t.Context(), "dev"); err == nil || errors.Is(err, providers.ErrAbsent) || !strings.Contains(err.Error(), "dev-manager-1") {
		t.Errorf("machines that nobody can ask for: %v", err)
	}
	if err := d.Purge(t.Context(), "dev"); err == nil {
		t.Error("machines were taken for removed")
	}
}

func TestFlags(t *testing.T) {
	said := stand(t, help(), nil)
	d := &Driver{}
	for _, test := range []struct {
		spec  providers.Spec
		want  string // arguments, or words of the error
		usage bool
	}{
		{spec: providers.Spec{Driver: "google", Size: "n1", Region: "eu", Image: "i", Batch: []string{"a", "b"}, Options: map[string]string{"google-preemptible": "", "google-zone": "z"}},
			want: "--google-machine-type=n1 --google-zone=eu --google-machine-image=i --google-preemptible --google-zone=z --engine-label=skep.batch=a+b --engine-label=skep.region=eu --engine-label=skep.size=n1"},
		{spec: providers.Spec{Driver: "google", Options: map[string]string{"google-zon": "z"}}, want: "google-zon", usage: true},
		{spec: providers.Spec{Driver: "google", Host: "root@h"}, want: "-d ssh", usage: true},
		{spec: providers.Spec{Driver: "docker-machine"}, want: "-d virtualbox", usage: true},
		{spec: providers.Spec{Driver: "generic"}, want: "ssh", usage: true},
		{spec: providers.Spec{Driver: "nowhere"}, want: "docker-machine-driver-nowhere"},
	} {
		_, err := d.Check(t.Context(), []providers.Spec{test.spec})
		if test.spec.Size != "" {
			known, err := flags(t.Context(), test.spec.Driver)
			if err != nil {
				t.Fatal(err)
			}
			if args, err := arguments(test.spec, test.spec.Driver, known); err != nil || strings.Join(args, " ") != test.want {
				t.Errorf("%v, %v", args, err)
			}
			continue
		}
		var wrong usage.Error
		if err == nil || !strings.Contains(err.Error(), test.want) || errors.As(err, &wrong) != test.usage {
			t.Errorf("%+v: %v", test.spec, err)
		}
	}
	if text, err := os.ReadFile(said); err != nil || strings.Contains(string(text), "create --driver google --google") {
		t.Errorf("a check made something: %s, %v", text, err)
	}
}

func TestVirtualBoxIsMissingOrTakesTurns(t *testing.T) {
	spec := func(n int) providers.Spec {
		return providers.Spec{Env: "dev", Name: fmt.Sprintf("dev-worker-%d", n), Driver: "virtualbox", Region: ""}
	}
	busy := filepath.Join(t.TempDir(), "busy")
	stand(t, `case "$*" in
*--help) `+help()+`;;
create*) mkdir `+busy+` || { echo "two at once" >&2; exit 1; }; sleep 0.05; rmdir `+busy+`;;
esac`, nil)
	d := &Driver{}
	if runtime.GOOS == "linux" {
		if _, err := d.Check(t.Context(), []providers.Spec{spec(1)}); err == nil || !strings.Contains(err.Error(), "install VirtualBox") {
			t.Errorf("without VirtualBox: %v", err)
		}
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "VBoxManage"), []byte("#!/bin/sh\n"), 0o700); err != nil { // #nosec G306 -- a program
			t.Fatal(err)
		}
		t.Setenv("PATH", folder+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	size := spec(1)
	size.Size = "large"
	var wrong usage.Error
	if _, err := d.Check(t.Context(), []providers.Spec{size}); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "--driver-opt") {
		t.Errorf("a size that it has no flag for: %v", err)
	}
	if _, err := d.Create(t.Context(), []providers.Spec{spec(1), spec(2), spec(3)}); err != nil {
		t.Errorf("create: %v", err)
	}
}

func TestFailuresTellNoOption(t *testing.T) {
	stand(t, `case "$*" in
*--help) `+help()+`;;
create*) echo "noise"; echo "Error creating machine: googleapi: Error 403" >&2; exit 1;;
rm*) echo "Error removing host \"$3\": Host does not exist: \"$3\"" >&2; exit 1;;
esac`, nil)
	d := &Driver{}
	s := providers.Spec{Env: "dev", Name: "dev-worker-1", Driver: "google", Options: map[string]string{"google-zone": "secret"}}
	_, err := d.Create(t.Context(), []providers.Spec{s})
	if err == nil || !strings.Contains(err.Error(), "dev-worker-1: Error creating machine: googleapi: Error 403") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	if err := d.Delete(t.Context(), []providers.Machine{{Name: "dev-worker-1"}}); err != nil {
		t.Errorf("one that is gone: %v", err)
	}
}

func TestRemovalIsAtTheProvider(t *testing.T) {
	said := stand(t, `[ "$1" != rm ] || rm -r "$MACHINE_STORAGE_PATH/machines/$3"`, map[string]string{"dev-manager-1": google, "dev-worker-1": google, "tst-manager-1": google})
	if err := (&Driver{}).Purge(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	slices.Sort(lines)
	if strings.Join(lines, ";") != "rm -y dev-manager-1;rm -y dev-worker-1" {
		t.Errorf("docker-machine was told %q", lines)
	}
}

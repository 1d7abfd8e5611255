package digitalocean

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skep/providers"
	"skep/testdata/cloud/api"
	"skep/usage"

	"golang.org/x/crypto/ssh"
)

func TestTokens(t *testing.T) {
	const file = "access-token: of-default\ncontext: work\nauth-contexts:\n  work: of-work\n  play: of-play\napi-url: https://theirs.example.com\n"
	for name, c := range map[string]struct {
		env        map[string]string
		file       string
		token, api string
	}{
		"first variable":    {map[string]string{"DIGITALOCEAN_ACCESS_TOKEN": "a", "DIGITALOCEAN_TOKEN": "b"}, file, "a", officialAPI},
		"second variable":   {map[string]string{"DIGITALOCEAN_TOKEN": "b"}, "", "b", officialAPI},
		"current context":   {nil, file, "of-work", "https://theirs.example.com"},
		"another context":   {map[string]string{"DIGITALOCEAN_CONTEXT": "play"}, file, "of-play", "https://theirs.example.com"},
		"default context":   {map[string]string{"DIGITALOCEAN_CONTEXT": "default"}, file, "of-default", "https://theirs.example.com"},
		"no such context":   {map[string]string{"DIGITALOCEAN_CONTEXT": "other"}, file, "", ""},
		"nothing":           {nil, "", "", ""},
		"empty file":        {nil, "# nothing\n", "", ""},
		"an API of its own": {map[string]string{"DIGITALOCEAN_TOKEN": "b", "DIGITALOCEAN_API_URL": "http://127.0.0.1:80/"}, "", "b", "http://127.0.0.1:80/"},
	} {
		t.Run(name, func(t *testing.T) {
			clearEnv(t)
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			if c.file != "" {
				doctlFile(t, c.file)
			}
			got, err := findCredentials()
			if c.token == "" && !errors.Is(err, providers.ErrAbsent) || c.token != "" && (err != nil || got.token != c.token || got.api != c.api) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func doctlFile(t *testing.T, text string) {
	t.Helper()
	folder, err := os.UserConfigDir()
	if err == nil {
		err = os.MkdirAll(filepath.Join(folder, "doctl"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "doctl", "config.yaml"), []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestABrokenFileOfDoctlIsNotQuoted(t *testing.T) {
	clearEnv(t)
	doctlFile(t, "access-token: "+token+"\n\t: "+token)
	_, err := findCredentials()
	wants(t, err, "doctl's file")
}

func TestTokenIsSentNowhereElse(t *testing.T) {
	for _, address := range []string{"http://api.example.com", "api.example.com", "https://api.example.com/v2", "https://me@api.example.com", "ftp://localhost"} {
		clearEnv(t)
		t.Setenv("DIGITALOCEAN_TOKEN", token)
		t.Setenv("DIGITALOCEAN_API_URL", address)
		_, err := findCredentials()
		wants(t, err, "DIGITALOCEAN_API_URL")
		if !errors.As(err, new(usage.Error)) {
			t.Errorf("%s: %v is no wrong usage", address, err)
		}
	}
}

func TestWithoutATokenNothingIsAsked(t *testing.T) {
	clearEnv(t)
	d := &Driver{}
	_, listing := d.List(t.Context(), "tst")
	for _, err := range []error{listing, d.Purge(t.Context(), "tst")} {
		if !errors.Is(err, providers.ErrAbsent) {
			t.Error(err)
		}
	}
}

func TestVariablesOfDockerMachine(t *testing.T) {
	r := rent(t, api.Faults{})
	folder := t.TempDir()
	script, key := filepath.Join(folder, "boot.sh"), filepath.Join(folder, "mine")
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	block, err := ssh.MarshalPrivateKey(private, "")
	if err == nil {
		err = errors.Join(os.WriteFile(script, []byte("#!/bin/sh\ntouch /mine\n"), 0o600), os.WriteFile(key, pem.EncodeToMemory(block), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"REGION": "fra1", "SIZE": "s-2vcpu-2gb", "IMAGE": "debian-12-x64", "SSH_USER": "admin", "SSH_PORT": "2222",
		"SSH_KEY_PATH": key, "TAGS": "mine", "IPV6": "true", "BACKUPS": "1", "MONITORING": "true", "USERDATA": script, "PRIVATE_NETWORKING": "true",
	} {
		t.Setenv("DIGITALOCEAN_"+name, value)
	}
	m := r.must(specsOf("tst", 1, 0))[0]
	if m.Region != "fra1" || m.Size != "s-2vcpu-2gb" || m.SSH.User != "admin" || !strings.HasSuffix(m.SSH.Address, ":2222") || m.SSH.KeyFile != key {
		t.Errorf("%+v", m)
	}
	if want := 0.02679 * 1.2; m.HourlyUSD < want-1e-9 || m.HourlyUSD > want+1e-9 {
		t.Errorf("$%f an hour with backups, not $%f", m.HourlyUSD, want)
	}
	found, err := r.droplets(t.Context(), "tst")
	if err != nil || len(found) != 1 || found[0].Image.Slug != "debian-12-x64" || !slices.Contains(found[0].Tags, "mine") {
		t.Fatalf("%+v, %v", found, err)
	}
	slices.Sort(found[0].Features)
	if !slices.Equal(found[0].Features, []string{"backups", "ipv6", "monitoring"}) {
		t.Errorf("features %v", found[0].Features)
	}
	data := r.cloud.State().UserData[0]
	if !strings.Contains(data, "touch /mine") || !strings.Contains(data, "docker.io") || strings.Contains(data, "PRIVATE KEY") {
		t.Errorf("user data: %s", data)
	}
	t.Setenv("DIGITALOCEAN_SSH_KEY_FINGERPRINT", "00:11")
	_, err = r.create(append(specsOf("tst", 1, 0), specsOf("tst", 0, 1)...))
	wants(t, err, "DIGITALOCEAN_SSH_KEY_FINGERPRINT 00:11")
}

func TestWrongVariables(t *testing.T) {
	r := rent(t, api.Faults{})
	for name, value := range map[string]string{
		"IPV6": "perhaps", "SSH_PORT": "0", "TAGS": "a,skep:b", "USERDATA": "/nowhere/at/all", "SSH_KEY_PATH": "/nowhere/at/all",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DIGITALOCEAN_"+name, value)
			_, err := r.create(specsOf("tst", 1, 0))
			wants(t, err, "DIGITALOCEAN_"+name)
			if !errors.As(err, new(usage.Error)) {
				t.Errorf("%v is no wrong usage", err)
			}
		})
	}
	r.nothing()
}

func TestBatchTags(t *testing.T) {
	for tag, names := range map[string][]string{
		"skep:tst:m1:w1-2":     {"tst-manager-1", "tst-worker-1", "tst-worker-2"},
		"skep:tst:w7":          {"tst-worker-7"},
		"skep:tst:m2_4-5:w1_3": {"tst-manager-2", "tst-manager-4", "tst-manager-5", "tst-worker-1", "tst-worker-3"},
	} {
		if got := batchTag("tst", names); got != tag {
			t.Errorf("%v is %s, not %s", names, got, tag)
		}
		env, rest := readTag(tag)
		if got := readBatch(env, rest); !slices.Equal(got, names) {
			t.Errorf("%s is %v, not %v", tag, got, names)
		}
	}
	var many []string
	for _, s := range specsOf("tst", 0, 200) {
		if (providers.Machine{Env: "tst", Name: s.Name, Role: s.Role}).Number()%2 == 0 {
			many = append(many, s.Name)
		}
	}
	tag := batchTag("tst", many)
	env, rest := readTag(tag)
	if got := readBatch(env, rest); len(tag) > longest || len(got) < 50 || !slices.Equal(got, many[:len(got)]) {
		t.Errorf("%d characters, %d names", len(tag), len(got))
	}
	for _, tag := range []string{"skep:tst:", "skep:tst:x", "skep:tst:w1-x", "skep:tst:w1-99999999", "other"} {
		if env, rest := readTag(tag); len(readBatch(env, rest)) > 0 {
			t.Errorf("%s is a batch", tag)
		}
	}
}

func TestUserDataFitsOrIsRefused(t *testing.T) {
	if _, err := userData("key", "#!/bin/sh\n"+strings.Repeat("#", mostUserdata)); !errors.As(err, new(usage.Error)) {
		t.Errorf("too long: %v", err)
	}
	data, err := userData("ssh-ed25519 AAAA skep\n", "")
	if err != nil || !strings.HasPrefix(data, "#cloud-config\n") || strings.Contains(data, "curl") {
		t.Errorf("%s, %v", data, err)
	}
}

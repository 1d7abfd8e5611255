package ssh

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skep/usage"
)

// homeWith makes a home with a configuration.
func homeWith(t *testing.T, text string) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", "/run/agent")
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".ssh", "config"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return home
}

func TestTheWayOfOpenSSH(t *testing.T) {
	home := homeWith(t, `
Host web
  HostName 203.0.113.5
  User admin
  Port 2200
  IdentityFile ~/.ssh/%r-key
  IdentitiesOnly yes
  IdentityAgent ~/agent.sock
Host *.corp
  HostName %h.example.com
  HostKeyAlias %h.alias
  UserKnownHostsFile ~/known "/etc/our known"
  IdentityAgent none
Host jump*
  ProxyJump bastion
Host direct
  ProxyJump none
`)
	ssh := filepath.Join(home, ".ssh")
	for _, test := range []struct {
		host          string
		address, user string
		alias, agent  string
		key           string
		known         string
		only          bool
	}{
		{host: "root@203.0.113.9", address: "203.0.113.9:22", user: "root", alias: "203.0.113.9:22", agent: "/run/agent", key: ssh + "/id_ed25519", known: ssh + "/known_hosts"},
		{host: "deploy@203.0.113.6:2222", address: "203.0.113.6:2222", user: "deploy", alias: "203.0.113.6:2222", agent: "/run/agent", key: ssh + "/id_rsa", known: "/etc/ssh/ssh_known_hosts"},
		{host: "root@[2001:db8::1]:2222", address: "[2001:db8::1]:2222", user: "root", alias: "[2001:db8::1]:2222", agent: "/run/agent"},
		{host: "root@2001:db8::1", address: "[2001:db8::1]:22", user: "root", alias: "[2001:db8::1]:22", agent: "/run/agent"},
		{host: "web", address: "203.0.113.5:2200", user: "admin", alias: "203.0.113.5:2200", agent: home + "/agent.sock", key: ssh + "/admin-key", only: true},
		{host: "root@web:22", address: "203.0.113.5:22", user: "root", alias: "203.0.113.5:22", agent: home + "/agent.sock", key: ssh + "/root-key", only: true},
		{host: "root@db.corp", address: "db.corp.example.com:22", user: "root", alias: "db.corp.example.com.alias:22", known: home + "/known"},
		{host: "root@direct", address: "direct:22", user: "root", alias: "direct:22", agent: "/run/agent"},
	} {
		way, err := resolve(test.host, nil)
		if err != nil {
			t.Errorf("%s: %v", test.host, err)
			continue
		}
		l := way.Login
		if way.Address != test.address || way.User != test.user || l.HostAlias != test.alias || l.Agent != test.agent || l.KeysOnly != test.only {
			t.Errorf("%s: %s@%s, %+v", test.host, way.User, way.Address, l)
		}
		if test.key != "" && !slices.Contains(l.Keys, test.key) || test.known != "" && !slices.Contains(l.KnownHosts, test.known) {
			t.Errorf("%s: keys %v, known hosts %v", test.host, l.Keys, l.KnownHosts)
		}
	}
	if _, err := resolve("root@jump1", nil); err == nil || !strings.Contains(err.Error(), "ProxyJump bastion") {
		t.Errorf("through another host: %v", err)
	}
	if way, err := resolve("root@h", map[string]string{optionIdentity: "~/k"}); err != nil || way.Login.Keys[0] != home+"/k" {
		t.Errorf("a key of its own: %+v, %v", way, err)
	}
}

func TestHostsThatAreNone(t *testing.T) {
	homeWith(t, "")
	var wrong usage.Error
	for _, host := range []string{"", "@h", "root@", "root@h:0", "root@h:x", "root@h:70000", "root@-oProxyCommand=x", "root@a b", "root@[::1"} {
		if _, err := resolve(host, nil); !errors.As(err, &wrong) {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func TestConfigurationThatIsNone(t *testing.T) {
	homeWith(t, "Match exec \"true\"\n  User x\n")
	if _, err := resolve("root@h", nil); err == nil || !strings.Contains(err.Error(), ".ssh/config") {
		t.Errorf("got %v", err)
	}
}

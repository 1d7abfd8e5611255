package tunnel

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// borrowed is the way into the server that a user has who knows it.
func (s *sshd) borrowed(t *testing.T) Endpoint {
	t.Helper()
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte(knownhosts.Line([]string{s.addr}, s.hostKey.PublicKey())+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Endpoint{Name: "dev-manager-1", Address: s.addr, User: "root", Login: &Login{
		Keys: []string{filepath.Join(t.TempDir(), "id_none"), s.keyFile}, KnownHosts: []string{"/nonexistent/known_hosts", known}, HostAlias: s.addr,
	}}
}

func TestLoginWithTheUsersKeys(t *testing.T) {
	s := startServer(t)
	c := connectWith(t, s.borrowed(t))
	if out, err := c.Run(t.Context(), "echo there", nil); err != nil || out != "there\n" {
		t.Errorf("%q, %v", out, err)
	}
	if c.RemoteAddr().String() != s.addr {
		t.Errorf("reached at %s", c.RemoteAddr())
	}
	if _, err := c.RunWithKey(t.Context(), "true", nil); err == nil || !strings.Contains(err.Error(), "not lent") {
		t.Errorf("the user's key is lent: %v", err)
	}
	if line := c.KnownHost(); !strings.HasPrefix(line, "dev-manager-1 ssh-ed25519 ") {
		t.Errorf("known as %q", line)
	}
}

func TestHostsAreKnownOrRefused(t *testing.T) {
	s, other := startServer(t), startServer(t)
	for _, test := range []struct {
		name  string
		lines []string
		alias string
		want  error
		words string
	}{
		{"known", []string{knownhosts.Line([]string{s.addr}, s.hostKey.PublicKey())}, s.addr, nil, ""},
		{"hashed", []string{knownhosts.Line([]string{knownhosts.HashHostname(knownhosts.Normalize(s.addr))}, s.hostKey.PublicKey())}, s.addr, nil, ""},
		{"by its alias", []string{knownhosts.Line([]string{"alias.test"}, s.hostKey.PublicKey())}, "alias.test:22", nil, ""},
		{"unknown", nil, s.addr, ErrNotPinned, "ssh-keyscan -p "},
		{"unknown by its alias", []string{knownhosts.Line([]string{s.addr}, s.hostKey.PublicKey())}, "alias.test:22", ErrNotPinned, "`ssh alias.test`"},
		{"changed", []string{knownhosts.Line([]string{s.addr}, other.hostKey.PublicKey())}, s.addr, ErrOtherKey, "refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := s.borrowed(t)
			e.Login.HostAlias = test.alias
			if err := os.WriteFile(e.Login.KnownHosts[1], []byte(strings.Join(test.lines, "\n")+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := Connect(t.Context(), e)
			if err == nil {
				_ = c.Close()
			}
			if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.words) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// served is an agent that has the keys in the files.
func served(t *testing.T, files ...string) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ssh.ParseRawPrivateKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	folder, err := os.MkdirTemp("", "agent") // short, for it is a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	socket := filepath.Join(folder, "s")
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(ring, conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return socket
}

func TestTheAgentIsAsked(t *testing.T) {
	s := startServer(t)
	stranger := filepath.Join(t.TempDir(), "id_stranger")
	if _, err := EnsureKey(stranger); err != nil {
		t.Fatal(err)
	}
	e := s.borrowed(t)
	e.Login.Keys, e.Login.Agent = nil, served(t, stranger, s.keyFile)
	connectWith(t, e)

	e.Login.Keys, e.Login.KeysOnly = []string{stranger}, true
	if _, err := Connect(t.Context(), e); !errors.Is(err, ErrDenied) {
		t.Errorf("a key that was not named is used: %v", err)
	}
	e.Login.Keys = []string{s.keyFile + ".pub"} // the agent has the other half
	connectWith(t, e)

	e.Login.Agent = filepath.Join(t.TempDir(), "gone")
	if _, err := Connect(t.Context(), e); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "agent does not answer") {
		t.Errorf("without the agent: %v", err)
	}
}

func TestEncryptedKeysAreLeftToTheAgent(t *testing.T) {
	s := startServer(t)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "id_ed25519")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	e := s.borrowed(t)
	e.Login.Keys = []string{file}
	if _, err := Connect(t.Context(), e); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "ssh-add "+file) {
		t.Errorf("got %v", err)
	}
}

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Login is the way that a user has into a machine that was there before: what
// OpenSSH would use. It is plain data.
type Login struct {
	Keys       []string // private keys, or public halves of keys that the agent has
	Agent      string   // socket of the SSH agent; "" is none
	KeysOnly   bool     // of what the agent has, Keys alone
	KnownHosts []string // files; those that are not there are left out
	HostAlias  string   // host:port that the machine is looked up as in them
}

// keyring is what a login is tried with, in the order of OpenSSH: keys of the
// agent that were named, its others, files.
type keyring struct {
	signers []ssh.Signer
	notes   []string // why a key that was named is not among them
	agent   net.Conn
}

func (k *keyring) close() {
	if k.agent != nil {
		_ = k.agent.Close()
	}
}

// ring gathers the keys. The agent is asked for signatures until close.
func (l *Login) ring(ctx context.Context) (*keyring, error) {
	k := &keyring{}
	held, err := k.held(ctx, l.Agent)
	if err != nil {
		k.notes = append(k.notes, err.Error())
	}
	var named, files []ssh.Signer
	for _, path := range l.Keys {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			text, err = os.ReadFile(path + ".pub") // the other half may be in the agent
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			k.notes = append(k.notes, err.Error())
			continue
		}
		public, signer := read(path, text)
		i := slices.IndexFunc(held, func(s ssh.Signer) bool { return public != nil && same(s.PublicKey(), public) })
		switch {
		case i >= 0:
			named = append(named, held[i])
			held = slices.Delete(held, i, i+1)
		case signer != nil:
			files = append(files, signer)
		case encrypted(text):
			k.notes = append(k.notes, fmt.Sprintf("%s is encrypted: `ssh-add %s` gives it to the agent, which skep asks", path, path))
		}
	}
	if l.KeysOnly {
		held = nil
	}
	k.signers = slices.Concat(named, held, files)
	if len(k.signers) == 0 {
		k.close()
		return nil, fmt.Errorf("%w: no key to log in with%s: start an SSH agent that has one, or make ~/.ssh/id_ed25519", ErrDenied, k.why())
	}
	return k, nil
}

// why tells of keys that were left out.
func (k *keyring) why() string {
	if len(k.notes) == 0 {
		return ""
	}
	return " (" + strings.Join(k.notes, "; ") + ")"
}

// held is what the agent has.
func (k *keyring) held(ctx context.Context, socket string) ([]ssh.Signer, error) {
	if socket == "" {
		return nil, nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("the SSH agent does not answer: %w", err)
	}
	k.agent = conn
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		return nil, fmt.Errorf("ask the SSH agent for its keys: %w", err)
	}
	return signers, nil
}

// read gives what a file of a key has: the private half where it is not
// encrypted, and the public one where it can be told.
func read(path string, text []byte) (ssh.PublicKey, ssh.Signer) {
	if signer, err := ssh.ParsePrivateKey(text); err == nil {
		return signer.PublicKey(), signer
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil {
		return public, nil
	}
	if beside, err := os.ReadFile(path + ".pub"); err == nil {
		if public, _, _, _, err := ssh.ParseAuthorizedKey(beside); err == nil {
			return public, nil
		}
	}
	return nil, nil
}

func encrypted(text []byte) bool {
	_, err := ssh.ParsePrivateKey(text)
	var missing *ssh.PassphraseMissingError
	return errors.As(err, &missing)
}

func same(a, b ssh.PublicKey) bool { return string(a.Marshal()) == string(b.Marshal()) }

// known checks a host key against the user's files, where OpenSSH would look it
// up. The algorithms are those of the keys that are known; none leaves them to
// the library.
func (l *Login) known() (ssh.HostKeyCallback, []string, error) {
	there := slices.DeleteFunc(slices.Clone(l.KnownHosts), func(path string) bool {
		_, err := os.Stat(path)
		return errors.Is(err, fs.ErrNotExist)
	})
	db, err := knownhosts.NewDB(there...)
	if err != nil {
		return nil, nil, fmt.Errorf("read the known hosts: %w", err)
	}
	check := db.HostKeyCallback()
	return func(_ string, _ net.Addr, key ssh.PublicKey) error {
		// By this name alone: OpenSSH does not ask for the address any more.
		err := check(l.HostAlias, &net.TCPAddr{}, key)
		switch {
		case knownhosts.IsHostUnknown(err):
			return &strangerError{ErrNotPinned, fmt.Sprintf("your known_hosts do not know it: `ssh %[1]s` once shows its key (%[2]s) and asks, `ssh-keyscan %[1]s` gives the line",
				arguments(l.HostAlias), ssh.FingerprintSHA256(key))}
		case knownhosts.IsHostKeyChanged(err):
			return &strangerError{ErrOtherKey, fmt.Sprintf("your known_hosts have another key for %s than the one that it shows (%s): refused, for it may be another machine at that address",
				arguments(l.HostAlias), ssh.FingerprintSHA256(key))}
		}
		return err
	}, db.HostKeyAlgorithms(l.HostAlias), nil
}

// arguments are those of OpenSSH's programs that mean host:port.
func arguments(address string) string {
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return address
	case port == "22":
		return host
	}
	return "-p " + port + " " + host
}

// strangerError is a machine that is not known to be the one that is meant.
type strangerError struct {
	kind  error
	words string
}

func (e *strangerError) Error() string { return e.words }
func (e *strangerError) Unwrap() error { return e.kind }

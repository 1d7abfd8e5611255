package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"
	skeema "github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostAlias is the address under which a machine's key is looked up: its name,
// for addresses come and go.
func hostAlias(name string) string { return net.JoinHostPort(name, "22") }

// Pin records the host keys of machines by name, in place of any earlier ones.
// The file is made if it is not there; keys of other machines stay.
func Pin(file string, keys map[string]ssh.PublicKey) error { return pin(file, keys, "") }

// Comments are what is written beside the keys of machines, by their names. A
// file that cannot be read has none.
func Comments(file string) map[string]string {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 4 {
			name, _, _ := strings.Cut(strings.TrimPrefix(fields[0], "["), "]")
			found[name] = fields[3]
		}
	}
	return found
}

func pin(file string, keys map[string]ssh.PublicKey, comment string) error {
	return rewrite(file, func(lines []string) []string {
		lines = slices.DeleteFunc(lines, func(l string) bool { return keys[lineName(l)] != nil })
		for name, key := range keys {
			lines = append(lines, strings.TrimSpace(knownhosts.Line([]string{hostAlias(name)}, key)+" "+comment))
		}
		slices.Sort(lines)
		return lines
	})
}

// hostKeys checks the key that a machine shows against the pinned one. The
// machines that skep sets up itself have an ed25519 key; one that is trusted at
// first may have others, and is to show the one that was pinned.
func hostKeys(e Endpoint) (ssh.HostKeyCallback, []string, error) {
	check, err := pins(e)
	if err != nil || !e.TrustFirst {
		return check, []string{ssh.KeyAlgoED25519}, err
	}
	algorithms := trustworthy()
	if db, err := skeema.NewDB(e.KnownHosts); err == nil {
		if pinned := db.HostKeyAlgorithms(hostAlias(e.Name)); len(pinned) > 0 {
			algorithms = pinned
		}
	}
	return check, algorithms, nil
}

func trustworthy() []string {
	return []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
}

func pins(e Endpoint) (ssh.HostKeyCallback, error) {
	pinned, err := knownhosts.New(e.KnownHosts)
	switch {
	case errors.Is(err, fs.ErrNotExist) && e.TrustFirst:
		pinned = func(string, net.Addr, ssh.PublicKey) error { return &knownhosts.KeyError{} }
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w in %s", ErrNotPinned, e.KnownHosts)
	case err != nil:
		return nil, fmt.Errorf("read the pinned host keys: %w", err)
	}
	if !e.TrustFirst {
		return pinned, nil
	}
	return func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := pinned(host, remote, key)
		var unknown *knownhosts.KeyError
		if errors.As(err, &unknown) && len(unknown.Want) == 0 {
			return pin(e.KnownHosts, map[string]ssh.PublicKey{e.Name: key}, e.Comment)
		}
		return err
	}, nil
}

// Unpin forgets the host keys of machines.
func Unpin(file string, names ...string) error {
	return rewrite(file, func(lines []string) []string {
		return slices.DeleteFunc(lines, func(l string) bool { return slices.Contains(names, lineName(l)) })
	})
}

func lineName(line string) string {
	name, _, _ := strings.Cut(line, " ")
	return name
}

// rewrite replaces a file of lines as a whole, so that a reader never sees
// half of it. Writers take turns, those of other processes as well.
func rewrite(file string, change func([]string) []string) error {
	turn := flock.New(filepath.Join(filepath.Dir(file), ".lock"))
	if err := turn.Lock(); err != nil {
		return fmt.Errorf("write the pinned host keys: %w", err)
	}
	defer func() { _ = turn.Close() }()
	content, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the pinned host keys: %w", err)
	}
	lines := change(strings.FieldsFunc(string(content), func(r rune) bool { return r == '\n' }))
	var out bytes.Buffer
	for _, l := range lines {
		out.WriteString(l + "\n")
	}
	temp, err := os.CreateTemp(filepath.Dir(file), ".pins-")
	if err != nil {
		return fmt.Errorf("write the pinned host keys: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(out.Bytes())
	if err := errors.Join(err, temp.Close()); err != nil {
		return fmt.Errorf("write the pinned host keys: %w", err)
	}
	if err := os.Rename(temp.Name(), file); err != nil {
		return fmt.Errorf("write the pinned host keys: %w", err)
	}
	return nil
}

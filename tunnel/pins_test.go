package tunnel

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// verdict is what the library says of a machine's key after reading the file.
func verdict(t *testing.T, file, name string, key ssh.PublicKey) error {
	t.Helper()
	check, err := knownhosts.New(file)
	if err != nil {
		t.Fatalf("not a known_hosts file: %v", err)
	}
	return check(net.JoinHostPort(name, "22"), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 32768}, key)
}

func pinned(t *testing.T, file, name string, key ssh.PublicKey) bool {
	t.Helper()
	err := verdict(t, file, name, key)
	var wrong *knownhosts.KeyError
	if err != nil && !errors.As(err, &wrong) {
		t.Fatal(err)
	}
	return err == nil
}

func known(t *testing.T, file, name string, key ssh.PublicKey) bool {
	t.Helper()
	var wrong *knownhosts.KeyError
	return !errors.As(verdict(t, file, name, key), &wrong) || len(wrong.Want) > 0
}

func TestPinReplacesOnlyTheNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dev")
	one, ten, other := newSigner(t).PublicKey(), newSigner(t).PublicKey(), newSigner(t).PublicKey()
	// A name that is the beginning of another is not that other.
	if err := Pin(file, map[string]ssh.PublicKey{"dev-worker-1": one, "dev-worker-10": ten}); err != nil {
		t.Fatal(err)
	}
	if !pinned(t, file, "dev-worker-1", one) || !pinned(t, file, "dev-worker-10", ten) {
		t.Fatal("what was pinned is not")
	}
	if pinned(t, file, "dev-worker-1", ten) || known(t, file, "dev-worker-2", one) {
		t.Error("what was not pinned is")
	}
	if err := Pin(file, map[string]ssh.PublicKey{"dev-worker-1": other, "dev-worker-2": one}); err != nil {
		t.Fatal(err)
	}
	if !pinned(t, file, "dev-worker-1", other) || !pinned(t, file, "dev-worker-2", one) || !pinned(t, file, "dev-worker-10", ten) {
		t.Error("a second Pin lost a key")
	}
	if pinned(t, file, "dev-worker-1", one) {
		t.Error("the key that was replaced still counts")
	}
}

func TestUnpinForgetsOnlyTheNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dev")
	key := newSigner(t).PublicKey()
	if err := Pin(file, map[string]ssh.PublicKey{"dev-worker-1": key, "dev-worker-10": key, "dev-manager-1": key}); err != nil {
		t.Fatal(err)
	}
	if err := Unpin(file, "dev-worker-1", "dev-manager-1", "dev-worker-3"); err != nil {
		t.Fatal(err)
	}
	if known(t, file, "dev-worker-1", key) || known(t, file, "dev-manager-1", key) {
		t.Error("the named are not forgotten")
	}
	if !pinned(t, file, "dev-worker-10", key) {
		t.Error("another was forgotten")
	}
}

func TestUnpinWithoutAFile(t *testing.T) {
	if err := Unpin(filepath.Join(t.TempDir(), "dev"), "dev-worker-1"); err != nil {
		t.Error(err)
	}
}

func TestPinsAreTheOwnersAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dev")
	writeText(t, file, "")
	if err := os.Chmod(file, 0o644); err != nil { // #nosec G302 -- the point of the test
		t.Fatal(err)
	}
	if err := Pin(file, map[string]ssh.PublicKey{"dev-worker-1": newSigner(t).PublicKey()}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(files) != 2 || files[0].Name() != ".lock" {
		t.Errorf("left in the folder: %v, %v", files, err)
	}
}

func TestPinKeepsLinesThatAreNotSkeps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dev")
	key := newSigner(t).PublicKey()
	line := knownhosts.Line([]string{"bastion.example.com"}, key)
	writeText(t, file, "# mine\n\n"+line) // and no newline at the end
	if err := Pin(file, map[string]ssh.PublicKey{"dev-worker-1": key}); err != nil {
		t.Fatal(err)
	}
	if !pinned(t, file, "bastion.example.com", key) || !pinned(t, file, "dev-worker-1", key) {
		t.Error("a key was lost")
	}
}

// Half a line would not parse, and half a file would lack the other machine.
func TestReadersNeverSeeHalfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dev")
	keys := map[string]ssh.PublicKey{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "zuletzt"} {
		keys[name] = newSigner(t).PublicKey()
	}
	if err := Pin(file, keys); err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		defer close(written)
		for range 100 {
			if err := Pin(file, map[string]ssh.PublicKey{"a": keys["b"]}); err != nil {
				t.Error(err)
			}
			if err := Unpin(file, "b", "c"); err != nil {
				t.Error(err)
			}
			if err := Pin(file, keys); err != nil {
				t.Error(err)
			}
		}
	})
	for range 4 {
		running.Go(func() {
			for {
				check, err := knownhosts.New(file)
				if err != nil {
					t.Errorf("half a file: %v", err)
					return
				}
				if err := check("zuletzt:22", &net.TCPAddr{}, keys["zuletzt"]); err != nil {
					t.Errorf("a machine that nobody touched: %v", err)
					return
				}
				select {
				case <-written:
					return
				default:
				}
			}
		})
	}
	running.Wait()
}

func TestPinSaysWhereItCannotWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "no such folder", "dev")
	for name, err := range map[string]error{
		"Pin":   Pin(file, map[string]ssh.PublicKey{"dev-worker-1": newSigner(t).PublicKey()}),
		"Unpin": Unpin(file, "dev-worker-1"),
	} {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

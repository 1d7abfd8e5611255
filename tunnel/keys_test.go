package tunnel

import (
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestEnsureKeyMakesAPairThatOnlyItsOwnerReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id_ed25519")
	line, err := EnsureKey(path)
	if err != nil {
		t.Fatal(err)
	}
	public, comment, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatalf("%q is no authorized_keys line: %v", line, err)
	}
	if public.Type() != ssh.KeyAlgoED25519 || comment != "skep" || len(rest) > 0 || strings.Contains(line, "\n") {
		t.Errorf("made %q", line)
	}
	for _, file := range []string{path, path + ".pub"} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
	private, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if string(signer.PublicKey().Marshal()) != string(public.Marshal()) {
		t.Error("the halves do not belong together")
	}
	written, err := os.ReadFile(path + ".pub")
	if err != nil || string(written) != line+"\n" {
		t.Errorf(".pub holds %q, %v", written, err)
	}
}

func TestEnsureKeyMakesOnePairForAllWhoAskAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "id_ed25519")
	lines := make([]string, 16)
	var asking sync.WaitGroup
	for i := range lines {
		asking.Go(func() {
			var err error
			if lines[i], err = EnsureKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	for _, line := range lines {
		if line != lines[0] || line == "" {
			t.Fatalf("made several: %q and %q", lines[0], line)
		}
	}
	if public, err := os.ReadFile(path + ".pub"); err != nil || string(public) != lines[0]+"\n" {
		t.Errorf(".pub holds %q, %v", public, err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("left in the folder: %v, %v", files, err)
	}
}

func TestEnsureKeyKeepsWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id_ed25519")
	first, err := EnsureKey(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := EnsureKey(path)
	if err != nil || first != second {
		t.Errorf("%q became %q, %v", first, second, err)
	}
}

func TestEnsureKeyRefusesAFileThatIsNoUsableKey(t *testing.T) {
	locked := &pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: []byte("encrypted"),
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"},
	}
	for name, write := range map[string]func(path string){
		"garbage": func(path string) { writeText(t, path, "not a key\n") },
		"empty":   func(path string) { writeText(t, path, "") },
		"locked":  func(path string) { writeText(t, path, string(pem.EncodeToMemory(locked))) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "id_ed25519")
			write(path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = EnsureKey(path)
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v does not name the file", err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("the user's file was changed: %v", err)
			}
		})
	}
}

func TestEnsureKeySaysWhereItCannotWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no such folder", "id_ed25519")
	_, err := EnsureKey(path)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

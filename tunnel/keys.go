package tunnel

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// EnsureKey reads the public half of the key pair at path, in the form of an
// authorized_keys line, and makes the pair (ed25519, 0600) where there is none.
func EnsureKey(path string) (string, error) {
	private, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return "", fmt.Errorf("make key pair %s: %w", path, err)
		}
		private, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fmt.Errorf("read the private key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return "", fmt.Errorf("parse private key %s: %w", path, err)
	}
	return authorizedLine(signer.PublicKey()), nil
}

func authorizedLine(key ssh.PublicKey) string {
	return string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(key))) + " skep"
}

// makeKey writes the pair. Two commands may come here at once: the link into
// place succeeds for one of them and the other takes what it finds.
func makeKey(path string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "skep")
	if err != nil {
		return err
	}
	sshPublic, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	err = writeOnce(path, pem.EncodeToMemory(block))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path+".pub", []byte(authorizedLine(sshPublic)+"\n"), 0o600)
}

// writeOnce makes a whole file at path, or fails with fs.ErrExist.
func writeOnce(path string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".key-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(content)
	// On the disk before it has its name: a key that is cut short is not made anew.
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Link(temp.Name(), path)
}

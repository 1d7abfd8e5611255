package ports

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// How often a condition outside this process is looked at again.
const poll = 10 * time.Millisecond

// tableFile is the path of the table. All skep processes of a user share it.
type tableFile string

// update changes the table under its lock. Nothing is written when change
// fails. Whoever reads the file, even after a crash in the middle of an
// update, finds all of the old table or all of the new.
func (f tableFile) update(ctx context.Context, change func(*table) error) error {
	unlock, err := lock(ctx, string(f)+".lock")
	if err != nil {
		return fmt.Errorf("lock the tunnel table: %w", err)
	}
	defer unlock()
	t, err := f.load()
	if err != nil {
		return err
	}
	before, err := t.encode()
	if err != nil {
		return err
	}
	if err := change(&t); err != nil {
		return err
	}
	after, err := t.encode()
	if err != nil || bytes.Equal(before, after) {
		return err
	}
	if err := f.save(after); err != nil {
		return fmt.Errorf("write the tunnel table: %w", err)
	}
	return nil
}

// read returns the table. It takes the lock because Windows cannot rename over
// a file that another process reads.
func (f tableFile) read(ctx context.Context) (table, error) {
	unlock, err := lock(ctx, string(f)+".lock")
	if err != nil {
		return table{}, fmt.Errorf("lock the tunnel table: %w", err)
	}
	defer unlock()
	return f.load()
}

func (f tableFile) load() (table, error) {
	text, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return table{}, nil
	}
	if err != nil {
		return table{}, fmt.Errorf("read the tunnel table: %w", err)
	}
	t, err := parseTable(text)
	if err != nil {
		return table{}, fmt.Errorf("the tunnel table %s is damaged: %w\nmend or remove that file; without it, ports are given out afresh", f, err)
	}
	return t, nil
}

func (f tableFile) save(text []byte) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(string(f)), ".tunnels-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(text)
	if err == nil {
		err = temp.Sync() // or a power cut may leave the name without the text
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), string(f))
}

// lock waits until no other process, and nobody else in this one, holds path.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	l := flock.New(path)
	if _, err := l.TryLockContext(ctx, poll); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	// Closing the file, which cannot be undone, is what lets go of the lock.
	return func() { _ = l.Unlock() }, nil
}

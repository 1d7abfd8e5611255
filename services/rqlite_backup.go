package services

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"skep/swarm"
)

// sqliteMagic is how a database file begins.
const sqliteMagic = "SQLite format 3\x00"

// BackupRqlite writes a consistent copy of the database, as its leader has it: an
// SQLite file, or of an old server the statements that make one.
func (x Executor) BackupRqlite(ctx context.Context, name string, to io.Writer) error {
	path := "/db/backup"
	return x.eachServer(ctx, name, func(c RqliteCluster, t swarm.Task) (bool, error) {
		query := ""
		if c.Mode == RqliteService {
			query = "?fmt=sql"
		}
		response, err := x.stream(ctx, t, RqlitePort, http.MethodGet, path+query, nil)
		if err != nil {
			return false, err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return false, fmt.Errorf("%s on %s gives no backup: %s", t.Service, t.Node, response.Status)
		}
		first := make([]byte, len(sqliteMagic))
		n, err := io.ReadFull(response.Body, first)
		if query == "" && string(first[:n]) != sqliteMagic {
			return false, fmt.Errorf("%s on %s gives no SQLite database", t.Service, t.Node)
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return false, err
		}
		// From here on another server could only add to what is written.
		_, err = io.Copy(to, io.MultiReader(bytes.NewReader(first[:n]), response.Body))
		return true, err
	})
}

// BackupRqliteFile is BackupRqlite to a file, which is there whole or not at all.
func (x Executor) BackupRqliteFile(ctx context.Context, name, file string) (err error) {
	part, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(part.Name())
		}
	}()
	err = x.BackupRqlite(ctx, name, part)
	if err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), file)
}

// RestoreRqlite replaces all that the cluster has by what a backup has.
func (x Executor) RestoreRqlite(ctx context.Context, name, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	first := make([]byte, len(sqliteMagic))
	n, err := io.ReadFull(f, first)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read %s: %w", file, err)
	}
	binary := string(first[:n]) == sqliteMagic
	return x.eachServer(ctx, name, func(c RqliteCluster, t swarm.Task) (bool, error) {
		if binary == (c.Mode == RqliteService) {
			return true, fmt.Errorf("%s is not what %s takes: use a file that its backup wrote", file, c.stack())
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return true, err
		}
		response, err := x.stream(ctx, t, RqlitePort, http.MethodPost, "/db/load", io.NopCloser(f))
		if err != nil {
			return false, err
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		switch {
		case err != nil:
			return true, err
		case response.StatusCode == http.StatusMovedPermanently || response.StatusCode == http.StatusServiceUnavailable:
			return false, fmt.Errorf("%s on %s is not the leader", t.Service, t.Node)
		case response.StatusCode != http.StatusOK || bytes.Contains(text, []byte(`"error"`)):
			return true, fmt.Errorf("%s on %s does not take %s: %s: %.200s", t.Service, t.Node, file, response.Status, text)
		}
		return true, nil
	})
}

// eachServer asks one server after another until one has done it, well or not.
func (x Executor) eachServer(ctx context.Context, name string, ask func(RqliteCluster, swarm.Task) (done bool, err error)) error {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return err
	}
	c, err := x.existingRqlite(ctx, manager, name)
	if err != nil {
		return err
	}
	tasks, err := x.rqliteTasks(ctx, manager, c)
	if err != nil {
		return err
	}
	if len(tasks) == 0 {
		return fmt.Errorf("%s has no running server", c.stack())
	}
	var errs []error
	for _, t := range tasks {
		done, err := ask(c, t)
		if done || err == nil {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

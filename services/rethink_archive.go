package services

import (
	"context"
	"fmt"
	"os"

	"skep/services/rethink"
)

// Dump writes all tables to a file on this computer.
func (d RethinkDB) Dump(ctx context.Context, path string, told rethink.Progress) ([]rethink.TableSum, error) {
	session, err := d.open(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	return session.DumpFile(ctx, d.Name, path, told)
}

// Restore makes the tables of such a file anew.
func (d RethinkDB) Restore(ctx context.Context, path string, force bool, told rethink.Progress) ([]rethink.TableSum, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	defer func() { _ = file.Close() }()
	unlock, err := d.Env.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	session, err := d.open(ctx, rethink.Inserters+1)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	return session.Restore(ctx, file, force, told)
}

// open is a session at any server.
func (d RethinkDB) open(ctx context.Context, connections int) (*rethink.Session, error) {
	manager, err := d.Env.Manager(ctx)
	if err != nil {
		return nil, err
	}
	v, err := d.tasks(ctx, manager)
	if err != nil {
		return nil, err
	}
	return d.session(ctx, manager, v.tasks, connections)
}

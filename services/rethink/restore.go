package rethink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

const (
	// restoring ends the name of a table until all of it is there and checked.
	restoring = "__restoring"
	// A batch is sent once it has so many documents or bytes.
	batchDocuments = 500
	batchBytes     = 1 << 20
	// Inserters is how many batches are under way at once; a session for a
	// restore needs one connection each and one more.
	Inserters       = 4
	takeBackTimeout = 30 * time.Second
	swapTimeout     = 2 * time.Minute
	// replaced ends the name of an old table until the new one has its place.
	replaced = "__replaced"
)

// Restore makes the archive's tables anew. Into a cluster that has tables it
// goes only by force, which replaces those of the archive and leaves others.
// Tables take their names, and the places of old ones, only when all documents
// of all of them are back and have been read again to be the same: until then
// a restore that fails changes nothing.
func (s *Session) Restore(ctx context.Context, from io.Reader, force bool, told Progress) ([]TableSum, error) {
	archive, err := newReader(from)
	if err != nil {
		return nil, err
	}
	tables, err := s.Tables(ctx)
	if err != nil {
		return nil, err
	}
	tables = slices.DeleteFunc(tables, func(t Table) bool { return hidden(t.Name) })
	if len(tables) > 0 && !force {
		return nil, fmt.Errorf("the cluster has %d tables, %s the first of them: --force replaces those of the archive", len(tables), tables[0].FullName())
	}
	sums, err := s.readTables(ctx, archive, told)
	if err != nil {
		return sums, errors.Join(err, s.takeBack(ctx, sums))
	}
	// From here on it goes to its end, even after Ctrl-C.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), swapTimeout)
	defer cancel()
	for _, t := range sums {
		if err := s.takePlace(ctx, t.DB, t.Name); err != nil {
			return sums, fmt.Errorf("put %s.%s into its place (it is there as %s%s): %w", t.DB, t.Name, t.Name, restoring, err)
		}
	}
	return sums, nil
}

// readTables makes all tables under other names. The last of those it returns
// with an error is not finished.
func (s *Session) readTables(ctx context.Context, archive *reader, told Progress) ([]TableSum, error) {
	sums := []TableSum{}
	for {
		l, err := archive.read()
		switch {
		case err != nil:
			return sums, err
		case l.Whole != nil:
			if l.Whole.Tables != len(sums) {
				return sums, fmt.Errorf("the archive has %d tables and should have %d", len(sums), l.Whole.Tables)
			}
			return sums, archive.end()
		case l.Table == nil:
			return sums, errors.New("the archive is not in order: a table should begin")
		}
		sums = append(sums, TableSum{DB: l.Table.DB, Name: l.Table.Name})
		if sums[len(sums)-1].Sum, err = s.restoreTable(ctx, *l.Table, archive, told); err != nil {
			return sums, fmt.Errorf("restore %s: %w", l.Table.FullName(), err)
		}
	}
}

// takeBack drops what a restore that failed has made, even after Ctrl-C.
func (s *Session) takeBack(ctx context.Context, made []TableSum) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTimeout)
	defer cancel()
	var errs []error
	for _, t := range made {
		if err := s.dropTable(ctx, t.DB, t.Name+restoring); err != nil {
			errs = append(errs, fmt.Errorf("drop %s.%s%s: %w", t.DB, t.Name, restoring, err))
		}
	}
	return errors.Join(errs...)
}

// restoreTable fills a table under another name and compares it with the
// archive's sum.
func (s *Session) restoreTable(ctx context.Context, d Definition, archive *reader, told Progress) (Sum, error) {
	full := d.FullName()
	d.Name += restoring
	if err := s.makeTable(ctx, d); err != nil {
		return Sum{}, err
	}
	want, err := s.fill(ctx, d, archive, func(n int) { told(full, n) })
	if err != nil {
		return Sum{}, err
	}
	for _, index := range d.Indexes {
		if _, err := s.run(ctx, r.DB(d.DB).Table(d.Name).IndexCreateFunc(index.Name, index.Function)); err != nil {
			return Sum{}, fmt.Errorf("make index %s: %w", index.Name, err)
		}
	}
	if len(d.Indexes) > 0 {
		if _, err := all[any](ctx, s, r.DB(d.DB).Table(d.Name).IndexWait()); err != nil {
			return Sum{}, fmt.Errorf("wait for its indexes: %w", err)
		}
	}
	got := newSummer()
	if err := s.documents(ctx, d.DB, d.Name, d.PrimaryKey, got.add); err != nil {
		return Sum{}, fmt.Errorf("read it again: %w", err)
	}
	if got.sum() != want {
		return Sum{}, fmt.Errorf("%d documents came back, and they are not the %d of the archive", got.n, want.Documents)
	}
	return want, nil
}

// makeTable makes an empty table, in the place of one that an earlier restore
// did not finish. It has no more replicas than there are servers.
func (s *Session) makeTable(ctx context.Context, d Definition) error {
	dbs, err := all[string](ctx, s, r.DBList())
	if err != nil {
		return err
	}
	if !slices.Contains(dbs, d.DB) {
		if _, err := s.run(ctx, r.DBCreate(d.DB)); err != nil {
			return err
		}
	}
	if err := s.dropTable(ctx, d.DB, d.Name); err != nil {
		return err
	}
	servers, err := all[Server](ctx, s, system("server_status"))
	if err != nil {
		return err
	}
	_, err = s.run(ctx, r.DB(d.DB).TableCreate(d.Name, r.TableCreateOpts{
		PrimaryKey: d.PrimaryKey, Durability: d.Durability,
		Shards: max(d.Shards, 1), Replicas: max(1, min(d.Replicas, len(servers))),
	}))
	if err != nil {
		return err
	}
	table := r.DB(d.DB).Table(d.Name)
	if d.WriteAcks != "" {
		if _, err := s.run(ctx, table.Config().Update(map[string]any{"write_acks": d.WriteAcks})); err != nil {
			return err
		}
	}
	_, err = s.run(ctx, table.Wait())
	return err
}

func (s *Session) dropTable(ctx context.Context, db, name string) error {
	names, err := all[string](ctx, s, r.DB(db).TableList())
	if err != nil || !slices.Contains(names, name) {
		return err
	}
	_, err = s.run(ctx, r.DB(db).TableDrop(name))
	return err
}

// fill inserts the archive's documents up to the table's end.
func (s *Session) fill(ctx context.Context, d Definition, archive *reader, told func(int)) (Sum, error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(Inserters)
	sum := newSummer()
	var batch []json.RawMessage
	size := 0
	flush := func() {
		docs := batch
		batch, size = nil, 0
		if len(docs) > 0 {
			g.Go(func() error { return s.insert(gctx, d, docs) })
		}
	}
	for {
		l, err := archive.read()
		switch {
		case err != nil || gctx.Err() != nil:
			return Sum{}, errors.Join(g.Wait(), err) // the first is why the context ended
		case l.End != nil:
			flush()
			if err := g.Wait(); err != nil {
				return Sum{}, err
			}
			if sum.sum() != *l.End {
				return Sum{}, errors.New("the archive is damaged: its documents are not what they were")
			}
			return *l.End, nil
		case l.Doc == nil:
			return Sum{}, errors.Join(g.Wait(), errors.New("the archive is not in order: a document should follow"))
		}
		if err := sum.add(l.Doc); err != nil {
			return Sum{}, errors.Join(g.Wait(), err)
		}
		told(sum.n)
		batch = append(batch, l.Doc)
		if size += len(l.Doc); len(batch) == batchDocuments || size >= batchBytes {
			flush()
		}
	}
}

// insert sends a batch as JSON that the server parses, times and binaries in
// their raw form: the driver would make a term of every field first.
func (s *Session) insert(ctx context.Context, d Definition, docs []json.RawMessage) error {
	var text strings.Builder
	text.WriteByte('[')
	for i, doc := range docs {
		if i > 0 {
			text.WriteByte(',')
		}
		text.Write(doc)
	}
	text.WriteByte(']')
	done, err := s.run(ctx, r.DB(d.DB).Table(d.Name).Insert(r.JSON(text.String()), r.InsertOpts{Durability: "hard", Conflict: "error"}))
	if err == nil && done.Inserted != len(docs) {
		err = fmt.Errorf("%d of %d documents were inserted", done.Inserted, len(docs))
	}
	return err
}

// takePlace gives a restored table its name. One that has it steps aside, and
// goes when the new one is in its place; else it has its name back.
func (s *Session) takePlace(ctx context.Context, db, name string) error {
	names, err := all[string](ctx, s, r.DB(db).TableList())
	if err != nil {
		return err
	}
	old := slices.Contains(names, name)
	if old {
		if err := s.rename(ctx, db, name, name+replaced); err != nil {
			return err
		}
	}
	if err := s.rename(ctx, db, name+restoring, name); err != nil {
		if old {
			err = errors.Join(err, s.rename(ctx, db, name+replaced, name))
		}
		return err
	}
	if old {
		return s.dropTable(ctx, db, name+replaced)
	}
	return nil
}

func (s *Session) rename(ctx context.Context, db, from, to string) error {
	if _, err := s.run(ctx, r.DB(db).Table(from).Config().Update(map[string]any{"name": to})); err != nil {
		return fmt.Errorf("rename %s.%s to %s: %w", db, from, to, err)
	}
	return nil
}

package rethink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// Progress is told of every table as its documents pass.
type Progress func(table string, documents int)

// TableSum is a table and what is in it.
type TableSum struct {
	DB   string `json:"db"`
	Name string `json:"name"`
	Sum
}

// rawDocuments has the database give times and binaries as it keeps them.
func rawDocuments(ctx context.Context) r.RunOpts {
	return r.RunOpts{Context: ctx, TimeFormat: "raw", BinaryFormat: "raw", GroupFormat: "raw"}
}

// DumpFile writes all tables to a file, which has its name only once it is
// whole and on the disk.
func (s *Session) DumpFile(ctx context.Context, env, path string, told Progress) (sums []TableSum, err error) {
	if found, err := os.Stat(path); err == nil && found.IsDir() {
		return nil, fmt.Errorf("write %s: it is a folder", path)
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part") // 0600
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = file.Close() // it may be so already
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if sums, err = s.Dump(ctx, env, file, told); err != nil {
		return nil, err
	}
	if err = file.Sync(); err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	if err = file.Close(); err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	if err = os.Rename(file.Name(), path); err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return sums, nil
}

// Dump writes all tables, one after another, each as it is read in the order of
// its primary key. What is written to a table meanwhile may be in or not.
func (s *Session) Dump(ctx context.Context, env string, to io.Writer, told Progress) ([]TableSum, error) {
	tables, err := s.Tables(ctx)
	if err != nil {
		return nil, err
	}
	tables = slices.DeleteFunc(tables, func(t Table) bool { return hidden(t.Name) })
	w := newWriter(to)
	if err := w.write(line{Skep: &header{Archive: archiveVersion, Env: env}}); err != nil {
		return nil, err
	}
	sums := []TableSum{}
	for _, t := range tables {
		sum, err := s.dumpTable(ctx, t, w, told)
		if err != nil {
			return nil, fmt.Errorf("dump %s: %w", t.FullName(), err)
		}
		sums = append(sums, TableSum{DB: t.DB, Name: t.Name, Sum: sum})
	}
	if err := w.write(line{Whole: &whole{Tables: len(tables)}}); err != nil {
		return nil, err
	}
	return sums, w.close()
}

func (s *Session) dumpTable(ctx context.Context, t Table, w *writer, told Progress) (Sum, error) {
	if t.WriteHook != nil {
		return Sum{}, errors.New("it has a write hook, which an archive cannot keep: remove it for the dump, and set it again after a restore")
	}
	d, err := s.definition(ctx, t)
	if err != nil {
		return Sum{}, err
	}
	if err := w.write(line{Table: &d}); err != nil {
		return Sum{}, err
	}
	sum := newSummer()
	err = s.documents(ctx, t.DB, t.Name, t.PrimaryKey, func(doc []byte) error {
		told(t.FullName(), sum.n+1)
		if err := sum.add(doc); err != nil {
			return err
		}
		return w.write(line{Doc: doc})
	})
	if err != nil {
		return Sum{}, err
	}
	end := sum.sum()
	return end, w.write(line{End: &end})
}

// documents gives every document of a table, ordered by its primary key, as
// the database wrote it.
func (s *Session) documents(ctx context.Context, db, table, key string, take func(doc []byte) error) error {
	query := r.DB(db).Table(table, r.TableOpts{ReadMode: "majority"}).OrderBy(r.OrderByOpts{Index: key})
	rows, err := query.Run(s.Session, rawDocuments(ctx))
	if err != nil {
		return because(ctx, err)
	}
	defer func() { _ = rows.Close() }()
	for {
		doc, more := rows.NextResponse()
		if !more {
			break
		}
		if err := take(doc); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err := rows.Err(); err != nil {
		return because(ctx, err)
	}
	return nil
}

// definition reads what it takes to make a table again.
func (s *Session) definition(ctx context.Context, t Table) (Definition, error) {
	d := Definition{
		DB: t.DB, Name: t.Name, PrimaryKey: t.PrimaryKey, Shards: len(t.Shards), Replicas: 1,
		Durability: t.Durability, WriteAcks: t.WriteAcks, Indexes: []Index{},
	}
	if len(t.Shards) > 0 {
		d.Replicas = len(t.Shards[0].Replicas)
	}
	type status struct {
		Index    string `rethinkdb:"index"`
		Function []byte `rethinkdb:"function"`
	}
	found, err := all[status](ctx, s, r.DB(t.DB).Table(t.Name).IndexStatus())
	if err != nil {
		return d, fmt.Errorf("ask for its indexes: %w", err)
	}
	for _, i := range found {
		d.Indexes = append(d.Indexes, Index{Name: i.Index, Function: i.Function})
	}
	return d, nil
}

// hidden says whether a table is one that a restore has not finished.
func hidden(name string) bool { return strings.HasSuffix(name, restoring) }

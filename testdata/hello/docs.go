package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// document is a row of the table docs.
type document struct {
	ID   string `rethinkdb:"id"`
	Body string `rethinkdb:"body"`
}

const (
	longestBody = 1 << 20
	scanTime    = time.Minute
)

// addDocs adds what a test counts lost writes with: a document has the id that the client chose, and a write that was
// tried again is still one.
func addDocs(mux *http.ServeMux, db *rethink) {
	mux.HandleFunc("PUT /docs/{id}", func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, longestBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(req.Context(), patience)
		defer cancel()
		if err := db.put(ctx, document{req.PathValue("id"), string(body)}); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "kept")
	})
	mux.HandleFunc("GET /docs/{id}", func(w http.ResponseWriter, req *http.Request) {
		ctx, cancel := context.WithTimeout(req.Context(), patience)
		defer cancel()
		found, err := db.get(ctx, req.PathValue("id"))
		switch {
		case errors.Is(err, r.ErrEmptyResult):
			http.NotFound(w, req)
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			fmt.Fprint(w, found.Body)
		}
	})
	mux.HandleFunc("GET /docs", func(w http.ResponseWriter, req *http.Request) {
		ids, err := db.ids(req.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		b := bufio.NewWriter(w)
		for _, id := range ids {
			fmt.Fprintln(b, id)
		}
		_ = b.Flush() // a client that left is no loss
	})
}

func (d *rethink) put(ctx context.Context, doc document) error {
	return d.do(ctx, silence, func(session *r.Session, options r.RunOpts) error {
		insert := d.table("docs").Insert(doc, r.InsertOpts{Durability: "hard", Conflict: "replace"})
		answer, err := insert.RunWrite(session, options)
		if err == nil && answer.Errors+answer.Inserted+answer.Replaced+answer.Unchanged != 1 {
			return fmt.Errorf("the database answers %+v", answer)
		}
		return err
	})
}

func (d *rethink) get(ctx context.Context, id string) (found document, err error) {
	err = d.do(ctx, silence, func(session *r.Session, options r.RunOpts) error {
		return one(d.table("docs").Get(id), session, options, &found)
	})
	return found, err
}

// ids are complete: what is read has the agreement of a majority.
func (d *rethink) ids(ctx context.Context) (ids []string, err error) {
	err = d.do(ctx, scanTime, func(session *r.Session, options r.RunOpts) error {
		all := r.DB(d.database).Table("docs", r.TableOpts{ReadMode: "majority"})
		cursor, err := all.Pluck("id").Run(session, options)
		if err != nil {
			return err
		}
		ids = nil
		var row document
		for cursor.Next(&row) {
			ids = append(ids, row.ID)
		}
		return cursor.Err()
	})
	return ids, err
}

package rethink

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
)

// An archive is gzipped lines of JSON, each an object with one key:
//
//	{"skep":{"archive":1,…}}            first
//	{"table":{"db":…,"name":…,…}}       a table begins
//	{"doc":{…}}                         its documents, ordered by primary key
//	{"end":{"documents":…,"sha256":…}}  the table ends
//	{"whole":{"tables":…}}              last: without it the archive was cut off
//
// Times and binaries are in the database's raw form, so nothing is lost.
const archiveVersion = 1

type header struct {
	Archive int    `json:"archive"`
	Env     string `json:"env"`
}

// Definition is what it takes to make a table again.
type Definition struct {
	DB         string  `json:"db"`
	Name       string  `json:"name"`
	PrimaryKey string  `json:"primary_key"`
	Shards     int     `json:"shards"`
	Replicas   int     `json:"replicas"`
	Durability string  `json:"durability,omitempty"`
	WriteAcks  string  `json:"write_acks,omitempty"`
	Indexes    []Index `json:"indexes"`
}

// FullName is how people name a table.
func (d Definition) FullName() string { return d.DB + "." + d.Name }

// Index is a secondary index; the function is the database's own form of it.
type Index struct {
	Name     string `json:"name"`
	Function []byte `json:"function"`
}

// Sum counts documents and says of two sets in the order of their primary key
// whether they are the same.
type Sum struct {
	Documents int    `json:"documents"`
	SHA256    string `json:"sha256"`
}

type whole struct {
	Tables int `json:"tables"`
}

// line is one line of an archive; one of its fields is set.
type line struct {
	Skep  *header         `json:"skep,omitempty"`
	Table *Definition     `json:"table,omitempty"`
	Doc   json.RawMessage `json:"doc,omitempty"`
	End   *Sum            `json:"end,omitempty"`
	Whole *whole          `json:"whole,omitempty"`
}

// summer makes the Sum of documents as they pass.
type summer struct {
	n    int
	hash hash.Hash
}

func newSummer() *summer { return &summer{hash: sha256.New()} }

// add takes a document in any order of its fields.
func (s *summer) add(doc []byte) error {
	var value any
	if err := json.Unmarshal(doc, &value); err != nil {
		return err
	}
	canonical, err := json.Marshal(value) // fields sorted
	if err != nil {
		return err
	}
	s.n++
	_, _ = s.hash.Write(append(canonical, '\n'))
	return nil
}

func (s *summer) sum() Sum { return Sum{Documents: s.n, SHA256: hex.EncodeToString(s.hash.Sum(nil))} }

// writer writes an archive.
type writer struct {
	buffer *bufio.Writer
	zip    *gzip.Writer
	lines  *json.Encoder
}

func newWriter(w io.Writer) *writer {
	buffer := bufio.NewWriterSize(w, 1<<20)
	// Dumps are limited by this computer's speed long before its disk.
	zip, err := gzip.NewWriterLevel(buffer, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is one of its own
	}
	lines := json.NewEncoder(zip)
	lines.SetEscapeHTML(false)
	return &writer{buffer: buffer, zip: zip, lines: lines}
}

func (w *writer) write(l line) error { return w.lines.Encode(l) }

func (w *writer) close() error { return errors.Join(w.zip.Close(), w.buffer.Flush()) }

// reader reads an archive.
type reader struct {
	zip   *gzip.Reader
	lines *json.Decoder
}

func newReader(r io.Reader) (*reader, error) {
	zip, err := gzip.NewReader(bufio.NewReaderSize(r, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("it is no archive of skep: %w", err)
	}
	a := &reader{zip: zip, lines: json.NewDecoder(zip)}
	l, err := a.read()
	switch {
	case err != nil || l.Skep == nil:
		return nil, errors.New("it is no archive of skep")
	case l.Skep.Archive != archiveVersion:
		return nil, fmt.Errorf("the archive is of version %d, which this skep does not know", l.Skep.Archive)
	}
	return a, nil
}

// errCutOff is an archive without its end.
var errCutOff = errors.New("the archive is cut off")

// read gives the next line; the end of the file before the last line is an
// error.
func (a *reader) read() (line, error) {
	var l line
	err := a.lines.Decode(&l)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errCutOff
	}
	return l, err
}

// end checks that the file ends where it should, with its checksum right.
func (a *reader) end() error {
	switch err := a.lines.Decode(&line{}); {
	case errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errCutOff
	case err == nil:
		return errors.New("the archive goes on after its end")
	default:
		return err
	}
}

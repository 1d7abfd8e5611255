package rethink

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

func archived(t testing.TB, lines ...line) []byte {
	t.Helper()
	var file bytes.Buffer
	w := newWriter(&file)
	for _, l := range lines {
		if err := w.write(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func TestAnArchiveGivesBackWhatWentIn(t *testing.T) {
	doc := json.RawMessage(`{"id":1,"html":"<&>","time":{"$reql_type$":"TIME","epoch_time":1.5,"timezone":"+00:00"}}`)
	file := archived(t, line{Skep: &header{Archive: archiveVersion}}, line{Table: &Definition{DB: "d", Name: "t", PrimaryKey: "id"}}, line{Doc: doc}, line{Whole: &whole{1}})
	r, err := newReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if l, err := r.read(); err != nil || l.Table == nil || l.Table.FullName() != "d.t" {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := r.read(); err != nil || string(l.Doc) != string(doc) {
		t.Errorf("%s, %v", l.Doc, err)
	}
	if l, err := r.read(); err != nil || l.Whole == nil {
		t.Errorf("%+v, %v", l, err)
	}
	if err := r.end(); err != nil {
		t.Errorf("at its end: %v", err)
	}
}

// Wherever it is cut off, that is seen before its last line.
func TestAnArchiveThatWasCutOff(t *testing.T) {
	file := archived(t, line{Skep: &header{Archive: archiveVersion}}, line{Doc: json.RawMessage(`{"id":1}`)}, line{Whole: &whole{}})
	for n := range len(file) {
		r, err := newReader(bytes.NewReader(file[:n]))
		for err == nil {
			var l line
			if l, err = r.read(); l.Whole != nil {
				if r.end() == nil {
					t.Fatalf("of %d bytes, %d are taken for the whole", len(file), n)
				}
				break
			}
		}
	}
}

func TestNoArchive(t *testing.T) {
	for name, file := range map[string][]byte{
		"text":          []byte("hello"),
		"nothing":       nil,
		"another gzip":  archived(t, line{Doc: json.RawMessage(`{}`)}),
		"a newer skep":  archived(t, line{Skep: &header{Archive: archiveVersion + 1}}),
		"an empty gzip": archived(t),
	} {
		if _, err := newReader(bytes.NewReader(file)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASumKnowsDocumentsByWhatTheySay(t *testing.T) {
	sum := func(docs ...string) Sum {
		s := newSummer()
		for _, d := range docs {
			if err := s.add([]byte(d)); err != nil {
				t.Fatal(err)
			}
		}
		return s.sum()
	}
	if sum(`{"a":1,"b":[1,2]}`) != sum(`{ "b": [1, 2.0], "a": 1e0 }`) {
		t.Error("the order of fields or the form of numbers counts")
	}
	whole := sum(`{"id":1}`, `{"id":2}`)
	for name, other := range map[string]Sum{
		"one less": sum(`{"id":1}`), "another order": sum(`{"id":2}`, `{"id":1}`), "another value": sum(`{"id":1}`, `{"id":"2"}`),
	} {
		if other == whole {
			t.Errorf("%s is not seen", name)
		}
	}
	if err := newSummer().add([]byte("{")); err == nil {
		t.Error("what is no document is taken")
	}
}

func FuzzReader(f *testing.F) {
	f.Add(archived(f, line{Skep: &header{Archive: archiveVersion}}, line{Whole: &whole{}}))
	f.Fuzz(func(_ *testing.T, file []byte) {
		r, err := newReader(io.LimitReader(bytes.NewReader(file), 1<<20))
		for n := 0; err == nil && n < 1000; n++ {
			_, err = r.read()
		}
	})
}

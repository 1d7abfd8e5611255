package main

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
)

// writeRequest changes documents of a table, each as a whole.
type writeRequest struct {
	Table      string
	PrimaryKey string
	Kind       writeKind
	Conflict   string // of an insert: error, replace or update
	Keys       []string
	JSON       [][]byte // of an insert, one for each key; else one for all, none for a deletion
	Changes    bool     // are the old and new values wanted?
}

type writeKind string

const (
	inserting writeKind = "insert"
	updating  writeKind = "update"
	replacing writeKind = "replace"
	deleting  writeKind = "delete"
)

// writeAnswer is what the real server counts.
type writeAnswer struct {
	Deleted, Errors, Inserted, Replaced, Skipped, Unchanged int
	FirstError                                              string
	Changes                                                 [][]byte
}

func (a *writeAnswer) add(b *writeAnswer) {
	a.Deleted += b.Deleted
	a.Errors += b.Errors
	a.Inserted += b.Inserted
	a.Replaced += b.Replaced
	a.Skipped += b.Skipped
	a.Unchanged += b.Unchanged
	if a.FirstError == "" {
		a.FirstError = b.FirstError
	}
	a.Changes = append(a.Changes, b.Changes...)
}

func (a *writeAnswer) fail(err error) {
	a.Errors++
	if a.FirstError == "" {
		a.FirstError = err.Error()
	}
}

// object is the answer as the client sees it.
func (a *writeAnswer) object() map[string]any {
	o := map[string]any{
		"deleted": a.Deleted, "errors": a.Errors, "inserted": a.Inserted,
		"replaced": a.Replaced, "skipped": a.Skipped, "unchanged": a.Unchanged,
	}
	if a.FirstError != "" {
		o["first_error"] = a.FirstError
	}
	return o
}

func (g *group) write(ctx context.Context, w *writeRequest) (*writeAnswer, error) {
	a := &writeAnswer{}
	err := g.commit(ctx, func() ([]document, error) {
		var written []document
		pending := map[string][]byte{} // of this request: it may name a key twice
		for i, key := range w.Keys {
			old, known := pending[key]
			if d, ok := g.store.document(g.table, key); !known && ok {
				old = d.JSON
			}
			next, err := w.apply(a, i, old)
			if err != nil {
				a.fail(err)
			}
			if err != nil || bytes.Equal(next, old) {
				continue
			}
			pending[key] = next
			written = append(written, document{Key: key, JSON: next})
		}
		return written, nil
	})
	return a, err
}

// apply works out what a document becomes, empty if it is deleted, and counts it.
func (w *writeRequest) apply(a *writeAnswer, i int, old []byte) (next []byte, err error) {
	if w.Kind != inserting && len(old) == 0 {
		a.Skipped++
		return old, nil
	}
	var given []byte
	if len(w.JSON) > 0 {
		given = w.JSON[min(i, len(w.JSON)-1)]
	}
	next, err = w.become(old, given)
	if err != nil {
		return old, err
	}
	switch {
	case len(next) == 0:
		a.Deleted++
	case len(old) == 0:
		a.Inserted++
	case bytes.Equal(next, old):
		a.Unchanged++
		return old, nil
	default:
		a.Replaced++
	}
	if w.Changes {
		a.Changes = append(a.Changes, changeOf(old, next))
	}
	return next, nil
}

func (w *writeRequest) become(old, given []byte) ([]byte, error) {
	switch {
	case w.Kind == deleting:
		return nil, nil
	case len(old) == 0:
		return given, nil
	case w.Kind == updating || w.Kind == inserting && w.Conflict == "update":
		was := decode(old).(map[string]any)
		merged := mergeObjects(was, decode(given).(map[string]any))
		if !same(merged[w.PrimaryKey], was[w.PrimaryKey]) {
			return nil, w.keyChanged(old, merged)
		}
		return canonical(merged), nil
	case w.Kind == replacing:
		was, next := decode(old).(map[string]any), decode(given).(map[string]any)
		if !same(next[w.PrimaryKey], was[w.PrimaryKey]) {
			return nil, w.keyChanged(old, next)
		}
		return given, nil
	case w.Conflict == "replace":
		return given, nil
	}
	return nil, logicError("Duplicate primary key `%s`:\n%s\n%s", w.PrimaryKey, printed(decode(old)), printed(decode(given)))
}

func (w *writeRequest) keyChanged(old []byte, next any) error {
	return logicError("Primary key `%s` cannot be changed (`%s` -> `%s`).", w.PrimaryKey, printed(decode(old)), printed(next))
}

func changeOf(old, next []byte) []byte {
	orNull := func(text []byte) json.RawMessage {
		if len(text) == 0 {
			return json.RawMessage("null")
		}
		return text
	}
	return canonical(map[string]json.RawMessage{"old_val": orNull(old), "new_val": orNull(next)})
}

// canonical is the one JSON text of a value, its keys sorted, as the real server sorts them.
func canonical(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err) // of values that came as JSON
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func same(a, b any) bool { return bytes.Equal(canonical(a), canonical(b)) }

// mergeObjects is what update does: objects are merged into objects, all else replaces what was there.
func mergeObjects(old, patch map[string]any) map[string]any {
	merged := maps.Clone(old)
	for key, value := range patch {
		object, isObject := value.(map[string]any)
		before, wasObject := merged[key].(map[string]any)
		switch {
		case isObject && object[pseudoType] == "LITERAL":
			delete(merged, key)
			if literal, ok := object["value"]; ok {
				merged[key] = literal
			}
		case isObject && object[pseudoType] == nil:
			if !wasObject || before[pseudoType] != nil {
				before = map[string]any{}
			}
			merged[key] = mergeObjects(before, object)
		default:
			merged[key] = value
		}
	}
	return merged
}

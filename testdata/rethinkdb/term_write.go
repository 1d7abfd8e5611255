package main

import (
	"context"
	"encoding/json"

	"gopkg.in/rethinkdb/rethinkdb-go.v6/ql2"
)

func writeTerms() map[ql2.Term_TermType]term {
	return map[ql2.Term_TermType]term{
		ql2.Term_INSERT:  insert,
		ql2.Term_UPDATE:  modify(updating),
		ql2.Term_REPLACE: modify(replacing),
		ql2.Term_DELETE:  modify(deleting),
		ql2.Term_SYNC: func(_ context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
			_, err := argument[table](args, 0, "TABLE")
			return map[string]any{"synced": 1}, err // all that was acknowledged is
		},
	}
}

func checkDurability(options map[string]any) error {
	if d, ok := options["durability"]; ok && d != "hard" && d != "soft" {
		return logicError("Durability option `%s` unrecognized (options are \"hard\" and \"soft\").", printed(d))
	}
	return nil
}

func insert(ctx context.Context, _ *evaluation, args []any, options map[string]any) (any, error) {
	t, err := argument[table](args, 0, "TABLE")
	if err != nil {
		return nil, err
	}
	if err := checkDurability(options); err != nil {
		return nil, err
	}
	if err := only(options, "durability", "return_changes", "conflict", "ignore_write_hook"); err != nil {
		return nil, err
	}
	w := writeRequest{Kind: inserting, Conflict: "error", Changes: options["return_changes"] == true}
	if conflict, ok := options["conflict"]; ok {
		w.Conflict, _ = conflict.(string)
		if w.Conflict != "error" && w.Conflict != "replace" && w.Conflict != "update" {
			return nil, logicError("Conflict option `%s` unrecognized (options are \"error\", \"replace\" and \"update\").", printed(conflict))
		}
	}
	value, err := argument[any](args, 1, "OBJECT")
	if err != nil {
		return nil, err
	}
	documents, ok := value.([]any)
	if !ok {
		documents = []any{value}
		if s, isStream := value.(*stream); isStream {
			settled, err := settled(ctx, s)
			if err != nil {
				return nil, err
			}
			documents = settled.([]any)
		}
	}
	total := &writeAnswer{}
	generated := w.take(total, t.primaryKey(), documents)
	answer, err := t.write(ctx, w)
	if err != nil {
		return nil, err
	}
	total.add(answer)
	result := total.result(w.Changes)
	if len(generated) > 0 {
		result["generated_keys"] = generated
	}
	return result, nil
}

// take makes keys where there are none, which it returns. Documents that cannot be stored are counted as errors.
func (w *writeRequest) take(a *writeAnswer, primaryKey string, documents []any) (generated []string) {
	for _, one := range documents {
		if r, ok := one.(*row); ok {
			one = r.decoded()
		}
		object, ok := one.(map[string]any)
		if !ok || object[pseudoType] != nil {
			a.fail(logicError("Expected type OBJECT but found %s.", typeName(one)))
			continue
		}
		value, has := object[primaryKey]
		if !has {
			made := newUUID()
			object[primaryKey], value = made, made
			generated = append(generated, made)
		}
		key, err := encodeKey(value)
		if err != nil {
			a.fail(err)
			continue
		}
		w.Keys, w.JSON = append(w.Keys, key), append(w.JSON, canonical(withoutLiterals(object)))
	}
	return generated
}

func withoutLiterals(object map[string]any) map[string]any {
	return mergeObjects(map[string]any{}, object)
}

func (a *writeAnswer) result(changes bool) map[string]any {
	o := a.object()
	if changes {
		all := []json.RawMessage{}
		for _, one := range a.Changes {
			all = append(all, one)
		}
		o["changes"] = all
	}
	return o
}

// modify changes a document, those of a selection, or of a table.
func modify(kind writeKind) term {
	return func(ctx context.Context, _ *evaluation, args []any, options map[string]any) (any, error) {
		if err := checkDurability(options); err != nil {
			return nil, err
		}
		if err := only(options, "durability", "return_changes", "non_atomic", "ignore_write_hook"); err != nil {
			return nil, err
		}
		w := writeRequest{Kind: kind, Changes: options["return_changes"] == true}
		if kind != deleting {
			value, err := argument[any](args, 1, "OBJECT")
			if err != nil {
				return nil, err
			}
			if value == nil && kind == replacing {
				w.Kind = deleting
			} else if object, err := argument[map[string]any](args, 1, "OBJECT"); err == nil {
				w.JSON = [][]byte{canonical(object)}
			} else {
				return nil, err
			}
		}
		return modified(ctx, args, w)
	}
}

func modified(ctx context.Context, args []any, w writeRequest) (any, error) {
	value, err := argument[any](args, 0, "SELECTION")
	if err != nil {
		return nil, err
	}
	if r, ok := value.(*row); ok && r.table != nil {
		return replaceOne(ctx, r, w)
	}
	s, err := sequence(args)
	if err != nil {
		return nil, err
	}
	if s.table == nil {
		return nil, logicError("Expected type SELECTION but found %s.", typeName(value))
	}
	total := &writeAnswer{}
	err = s.each(ctx, func(rows []*row) error {
		w.Keys = nil
		for _, one := range rows {
			w.Keys = append(w.Keys, one.key)
		}
		answer, err := s.table.write(ctx, w)
		if err == nil {
			total.add(answer)
		}
		return err
	})
	return total.result(w.Changes), err
}

// replaceOne differs from a selection's change in that a replace inserts what is not there.
func replaceOne(ctx context.Context, r *row, w writeRequest) (any, error) {
	w.Keys = []string{r.key}
	if r.text == nil && w.Kind == replacing {
		object := decode(w.JSON[0]).(map[string]any)
		if key, err := encodeKey(object[r.table.primaryKey()]); err != nil || key != r.key {
			return nil, logicError("Primary key `%s` cannot be changed (`null` -> `%s`).", r.table.primaryKey(), printed(object))
		}
		w.Kind, w.Conflict = inserting, "replace"
	}
	answer, err := r.table.write(ctx, w)
	if err != nil {
		return nil, err
	}
	return answer.result(w.Changes), nil
}

package main

import (
	"context"
	"encoding/json"
	"slices"
)

// row is a document of a selection, or an item of another sequence.
type row struct {
	table table // nil if it is of none
	key   string
	text  []byte // nil where there is no such document, or value is set
	value any
}

func (r *row) shown() any {
	switch {
	case r.text != nil:
		return json.RawMessage(r.text)
	default:
		return r.value
	}
}

func (r *row) decoded() any {
	if r.text != nil {
		return decode(r.text)
	}
	return r.value
}

// stream is a sequence that is worked out as it is read.
type stream struct {
	table table // that it is a selection of; nil if of none
	next  func(ctx context.Context) (rows []*row, more bool, err error)
	whole *scanRequest // set as long as it is a part of the table with nothing left out
}

// scanning reads a part of a table, a batch at a time.
func scanning(t table, part scanRequest) *stream {
	rest := part
	return &stream{table: t, whole: &part, next: func(ctx context.Context) ([]*row, bool, error) {
		answer, err := t.read(ctx, rest)
		if err != nil {
			return nil, false, err
		}
		rows := make([]*row, len(answer.Keys))
		for i := range rows {
			rows[i] = &row{table: t, key: answer.Keys[i], text: answer.JSON[i]}
		}
		rest.From, rest.After = answer.Last, true
		return rows, answer.Last != "", nil
	}}
}

// items is a sequence of values.
func items(values []any) *stream {
	return &stream{next: func(context.Context) ([]*row, bool, error) {
		rows := make([]*row, len(values))
		for i := range rows {
			rows[i] = &row{value: values[i]}
		}
		return rows, false, nil
	}}
}

// through is the stream with each batch changed.
func (s *stream) through(change func([]*row) (rows []*row, more bool, err error)) *stream {
	return &stream{table: s.table, next: func(ctx context.Context) ([]*row, bool, error) {
		rows, more, err := s.next(ctx)
		if err != nil {
			return nil, false, err
		}
		rows, wantsMore, err := change(rows)
		return rows, more && wantsMore, err
	}}
}

func (s *stream) mapped(change func(any) (any, error)) *stream {
	t := s.through(func(rows []*row) ([]*row, bool, error) {
		changed := make([]*row, len(rows))
		for i, one := range rows {
			value, err := change(one.decoded())
			if err != nil {
				return nil, false, err
			}
			changed[i] = &row{value: value}
		}
		return changed, true, nil
	})
	t.table = nil
	return t
}

func (s *stream) filtered(keep func(any) bool) *stream {
	return s.through(func(rows []*row) ([]*row, bool, error) {
		return slices.DeleteFunc(rows, func(r *row) bool { return !keep(r.decoded()) }), true, nil
	})
}

func (s *stream) skipped(n int) *stream {
	return s.through(func(rows []*row) ([]*row, bool, error) {
		away := min(n, len(rows))
		n -= away
		return rows[away:], true, nil
	})
}

func (s *stream) limited(n int) *stream {
	if n == 0 {
		return items(nil)
	}
	return s.through(func(rows []*row) ([]*row, bool, error) {
		rows = rows[:min(n, len(rows))]
		n -= len(rows)
		return rows, n > 0, nil
	})
}

// each goes through all batches.
func (s *stream) each(ctx context.Context, do func([]*row) error) error {
	for more := true; more; {
		var rows []*row
		var err error
		if rows, more, err = s.next(ctx); err != nil {
			return err
		}
		if err := do(rows); err != nil {
			return err
		}
	}
	return nil
}

// arrayLimit is how much may be held in memory at once.
const arrayLimit = 100_000

func (s *stream) all(ctx context.Context) (all []*row, err error) {
	err = s.each(ctx, func(rows []*row) error {
		if all = append(all, rows...); len(all) > arrayLimit {
			return &queryError{resourceLimit, "Array over size limit `100000`."}
		}
		return nil
	})
	return all, err
}

func (s *stream) count(ctx context.Context) (n int, err error) {
	if s.whole != nil {
		part := *s.whole
		part.CountOnly = true
		answer, err := s.table.read(ctx, part)
		if err != nil {
			return 0, err
		}
		return answer.Count, nil
	}
	err = s.each(ctx, func(rows []*row) error {
		n += len(rows)
		return nil
	})
	return n, err
}

// settled makes a result a value that JSON has.
func settled(ctx context.Context, value any) (any, error) {
	switch v := value.(type) {
	case *row:
		return v.shown(), nil
	case *stream:
		rows, err := v.all(ctx)
		list := make([]any, len(rows))
		for i := range rows {
			list[i] = rows[i].decoded()
		}
		return list, err
	case table, database:
		return nil, logicError("Query result must be of type DATUM, GROUPED_DATA, or STREAM (got %s).", typeName(value))
	case bound:
		return nil, logicError("Cannot convert `r.minval` or `r.maxval` to JSON.")
	}
	return value, nil
}

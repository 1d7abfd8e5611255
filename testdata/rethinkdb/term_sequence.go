package main

import (
	"context"
	"slices"

	"gopkg.in/rethinkdb/rethinkdb-go.v6/ql2"
)

func sequenceTerms() map[ql2.Term_TermType]term {
	return map[ql2.Term_TermType]term{
		ql2.Term_FILTER:    filter,
		ql2.Term_ORDER_BY:  orderBy,
		ql2.Term_ASC:       direction(false),
		ql2.Term_DESC:      direction(true),
		ql2.Term_LIMIT:     counted((*stream).limited),
		ql2.Term_SKIP:      counted((*stream).skipped),
		ql2.Term_COUNT:     count,
		ql2.Term_PLUCK:     projected(true),
		ql2.Term_WITHOUT:   projected(false),
		ql2.Term_BRACKET:   field,
		ql2.Term_GET_FIELD: field,
		ql2.Term_NTH:       nth,
	}
}

// sequence makes the first argument a stream.
func sequence(args []any) (*stream, error) {
	value, err := argument[any](args, 0, "SEQUENCE")
	if err != nil {
		return nil, err
	}
	switch v := value.(type) {
	case *stream:
		return v, nil
	case table:
		return scanning(v, scanRequest{}), nil
	case []any:
		return items(v), nil
	}
	return nil, logicError("Cannot convert %s to SEQUENCE", typeName(value))
}

func filter(_ context.Context, _ *evaluation, args []any, options map[string]any) (any, error) {
	if err := only(options); err != nil {
		return nil, err
	}
	s, err := sequence(args)
	if err != nil {
		return nil, err
	}
	wanted, err := argument[map[string]any](args, 1, "OBJECT")
	if err != nil {
		return nil, err
	}
	return s.filtered(func(value any) bool { return fits(value, wanted) }), nil
}

// fits tells whether a value has all fields of an object, nested ones too.
func fits(value, wanted any) bool {
	object, ok := wanted.(map[string]any)
	if !ok || object[pseudoType] != nil {
		return same(value, wanted)
	}
	has, ok := value.(map[string]any)
	if !ok {
		return false
	}
	for key, one := range object {
		if found, ok := has[key]; !ok || !fits(found, one) {
			return false
		}
	}
	return true
}

// ordering is a field to sort by.
type ordering struct {
	field string
	down  bool
}

func direction(down bool) term {
	return func(_ context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
		name, err := argument[string](args, 0, "STRING")
		return ordering{name, down}, err
	}
}

func orderingOf(value any) (ordering, error) {
	switch v := value.(type) {
	case ordering:
		return v, nil
	case string:
		return ordering{field: v}, nil
	}
	return ordering{}, logicError("Expected type STRING but found %s.", typeName(value))
}

func orderBy(ctx context.Context, _ *evaluation, args []any, options map[string]any) (any, error) {
	s, err := sequence(args)
	if err != nil {
		return nil, err
	}
	var orders []ordering
	for _, one := range args[1:] {
		order, err := orderingOf(one)
		if err != nil {
			return nil, err
		}
		orders = append(orders, order)
	}
	if by, ok := options["index"]; ok {
		order, err := orderingOf(by)
		if err != nil {
			return nil, err
		}
		if s.whole == nil {
			return nil, logicError("Indexed order_by can only be performed on a TABLE or TABLE_SLICE.")
		}
		if err := primaryIndex(s.table, map[string]any{"index": order.field}); err != nil {
			return nil, err
		}
		if len(orders) == 0 && !order.down {
			return s, nil // as it is scanned
		}
		orders = append(orders, order)
	}
	rows, err := s.all(ctx)
	if err != nil {
		return nil, err
	}
	type sortable struct {
		*row
		fields map[string]any
	}
	sorted := make([]sortable, len(rows))
	for i, one := range rows {
		fields, _ := one.decoded().(map[string]any)
		sorted[i] = sortable{one, fields}
	}
	slices.SortStableFunc(sorted, func(a, b sortable) int {
		for _, order := range orders {
			if c := compareValues(a.fields[order.field], b.fields[order.field]); c != 0 && order.down {
				return -c
			} else if c != 0 {
				return c
			}
		}
		return 0
	})
	for i := range sorted {
		rows[i] = sorted[i].row
	}
	return &stream{table: s.table, next: func(context.Context) ([]*row, bool, error) {
		part := rows[:min(len(rows), scannedCount)]
		rows = rows[len(part):]
		return part, len(rows) > 0, nil
	}}, nil
}

func counted(do func(*stream, int) *stream) term {
	return func(_ context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
		s, err := sequence(args)
		if err != nil {
			return nil, err
		}
		n, err := argument[float64](args, 1, "NUMBER")
		if err != nil || n < 0 {
			return nil, logicError("Cannot use a negative or no number on a sequence.")
		}
		return do(s, int(n)), nil
	}
}

func count(ctx context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
	if len(args) != 1 {
		return nil, unknown("count takes no argument here.")
	}
	s, err := sequence(args)
	if err != nil {
		return nil, err
	}
	return s.count(ctx)
}

// projected keeps only some fields of an object, or all but those.
func projected(keep bool) term {
	return func(_ context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
		wanted := map[string]bool{}
		for _, one := range args[min(1, len(args)):] {
			name, ok := one.(string)
			if !ok {
				return nil, unknown("pluck and without take names only.")
			}
			wanted[name] = true
		}
		project := func(value any) (any, error) {
			object, ok := value.(map[string]any)
			if !ok {
				return nil, logicError("Expected type OBJECT but found %s.", typeName(value))
			}
			left := map[string]any{}
			for key, one := range object {
				if wanted[key] == keep {
					left[key] = one
				}
			}
			return left, nil
		}
		return perItem(args, project)
	}
}

// perItem changes an object, or each item of a sequence.
func perItem(args []any, change func(any) (any, error)) (any, error) {
	if object, err := argument[map[string]any](args, 0, "OBJECT"); err == nil {
		return change(object)
	}
	if r, ok := args[0].(*row); ok {
		return change(r.decoded())
	}
	s, err := sequence(args)
	if err != nil {
		return nil, err
	}
	return s.mapped(change), nil
}

func field(ctx context.Context, e *evaluation, args []any, options map[string]any) (any, error) {
	name, err := argument[string](args, 1, "STRING")
	if err != nil {
		return nth(ctx, e, args, options)
	}
	return perItem(args, func(value any) (any, error) {
		object, ok := value.(map[string]any)
		if !ok {
			return nil, &queryError{nonExistence, "Cannot perform bracket on a non-object non-sequence `" + printed(value) + "`."}
		}
		found, ok := object[name]
		if !ok {
			return nil, &queryError{nonExistence, "No attribute `" + name + "` in object:\n" + printed(object)}
		}
		return found, nil
	})
}

func nth(ctx context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
	s, err := sequence(args)
	if err != nil {
		return nil, err
	}
	n, err := argument[float64](args, 1, "NUMBER")
	if err != nil {
		return nil, err
	}
	rows, err := s.limited(int(n) + 1).all(ctx)
	if err != nil {
		return nil, err
	}
	if n < 0 || len(rows) <= int(n) {
		return nil, &queryError{nonExistence, "Index out of bounds: " + printed(n)}
	}
	return rows[int(n)], nil
}

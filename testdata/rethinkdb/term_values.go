package main

import (
	"context"
	"encoding/json"
	"time"

	"gopkg.in/rethinkdb/rethinkdb-go.v6/ql2"
)

func valueTerms() map[ql2.Term_TermType]term {
	return map[ql2.Term_TermType]term{
		ql2.Term_DATUM: func(_ context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
			return argument[any](args, 0, "DATUM")
		},
		ql2.Term_MAKE_ARRAY: func(ctx context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
			return data(ctx, args)
		},
		ql2.Term_MAKE_OBJ: func(_ context.Context, _ *evaluation, _ []any, options map[string]any) (any, error) {
			return options, nil
		},
		ql2.Term_JSON: func(_ context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
			text, err := argument[string](args, 0, "STRING")
			if err != nil {
				return nil, err
			}
			var value any
			if err := json.Unmarshal([]byte(text), &value); err != nil {
				return nil, logicError("Failed to parse the text as JSON: %v.", err)
			}
			return value, nil
		},
		ql2.Term_LITERAL: func(_ context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
			object := map[string]any{pseudoType: "LITERAL"}
			if len(args) > 0 {
				object["value"] = args[0]
			}
			return object, nil
		},
		ql2.Term_NOW: func(context.Context, *evaluation, []any, map[string]any) (any, error) {
			return timeValue(time.Now()), nil
		},
		ql2.Term_UUID: func(_ context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
			if len(args) > 0 {
				return nil, unknown("uuid of a text is not part of it.")
			}
			return newUUID(), nil
		},
		ql2.Term_MINVAL: func(context.Context, *evaluation, []any, map[string]any) (any, error) { return minimum, nil },
		ql2.Term_MAXVAL: func(context.Context, *evaluation, []any, map[string]any) (any, error) { return maximum, nil },
	}
}

// data makes all of them values.
func data(ctx context.Context, args []any) ([]any, error) {
	list := make([]any, len(args))
	for i, one := range args {
		value, err := datum(ctx, one)
		if err != nil {
			return nil, err
		}
		list[i] = value
	}
	return list, nil
}

func datum(ctx context.Context, value any) (any, error) {
	if r, ok := value.(*row); ok {
		return r.decoded(), nil
	}
	return settled(ctx, value)
}

// timeValue is a time as ReQL has it, to the millisecond.
func timeValue(t time.Time) map[string]any {
	return map[string]any{pseudoType: "TIME", "epoch_time": float64(t.UnixMilli()) / 1000, "timezone": "+00:00"}
}

package main

import (
	"context"
	"encoding/json"
	"maps"

	"gopkg.in/rethinkdb/rethinkdb-go.v6/ql2"
)

const pseudoType = "$reql_type$"

// evaluation is one query at work. What it knows is no more than tests and skep need; all else it refuses by name.
type evaluation struct {
	mesh    *mesh
	terms   map[ql2.Term_TermType]term
	options map[string]any
}

// term works out one kind of term of its arguments and options, which are values by then.
type term func(ctx context.Context, e *evaluation, args []any, options map[string]any) (any, error)

type database struct{ id, name string }

// bound is r.minval or r.maxval.
type bound bool

const (
	minimum bound = false
	maximum bound = true
)

func (e *evaluation) run(ctx context.Context, expression any) (any, error) {
	value, err := e.evaluate(ctx, expression)
	if t, ok := value.(table); ok && err == nil {
		return scanning(t, scanRequest{}), nil
	}
	return value, err
}

func (e *evaluation) evaluate(ctx context.Context, expression any) (any, error) {
	switch x := expression.(type) {
	case map[string]any:
		return e.object(ctx, x)
	case []any:
		return e.call(ctx, x)
	}
	return expression, nil
}

func (e *evaluation) object(ctx context.Context, x map[string]any) (any, error) {
	object := make(map[string]any, len(x))
	for key, value := range x {
		var err error
		if object[key], err = e.datum(ctx, value); err != nil {
			return nil, err
		}
	}
	return object, nil
}

// datum is a value that can be part of another.
func (e *evaluation) datum(ctx context.Context, expression any) (any, error) {
	value, err := e.run(ctx, expression)
	if err != nil {
		return nil, err
	}
	value, err = settled(ctx, value)
	if raw, ok := value.(json.RawMessage); ok {
		return decode(raw), err
	}
	return value, err
}

func (e *evaluation) call(ctx context.Context, x []any) (any, error) {
	number, ok := 0.0, false
	if len(x) > 0 {
		number, ok = x[0].(float64)
	}
	if !ok {
		return nil, &queryError{compileError, "Expected a TermType as a NUMBER but found " + printed(x)}
	}
	kind := ql2.Term_TermType(number)
	var given []any
	var named map[string]any
	for _, part := range x[1:] {
		switch p := part.(type) {
		case []any:
			given = p
		case map[string]any:
			named = p
		}
	}
	evaluate, ok := e.terms[kind]
	if !ok {
		return nil, unknown("the term %s is not part of it.", kind)
	}
	args := make([]any, len(given))
	for i, one := range given {
		if kind == ql2.Term_INDEX_CREATE && i == 2 {
			args[i] = one // a function that stays what it is
			continue
		}
		var err error
		if args[i], err = e.evaluate(ctx, one); err != nil {
			return nil, err
		}
	}
	options := make(map[string]any, len(named))
	for name, one := range named {
		var err error
		if options[name], err = e.evaluate(ctx, one); err != nil {
			return nil, err
		}
	}
	return evaluate(ctx, e, args, options)
}

// terms are all there are.
func terms() map[ql2.Term_TermType]term {
	all := map[ql2.Term_TermType]term{}
	maps.Copy(all, valueTerms())
	maps.Copy(all, selectTerms())
	maps.Copy(all, sequenceTerms())
	maps.Copy(all, writeTerms())
	maps.Copy(all, schemaTerms())
	maps.Copy(all, indexTerms())
	maps.Copy(all, adminTerms())
	return all
}

// only refuses options that are not known, as values of those that are not among the ones allowed.
func only(options map[string]any, known ...string) error {
	for name := range options {
		found := false
		for _, one := range known {
			found = found || one == name
		}
		if !found {
			return unknown("the option %q is not part of it here.", name)
		}
	}
	return nil
}

func argument[T any](args []any, i int, what string) (T, error) {
	var none T
	if i >= len(args) {
		return none, logicError("Expected %d or more arguments but found %d.", i+1, len(args))
	}
	if value, ok := args[i].(T); ok {
		return value, nil
	}
	if r, ok := args[i].(*row); ok {
		if value, ok := r.decoded().(T); ok {
			return value, nil
		}
		return none, logicError("Expected type %s but found %s.", what, typeName(r.decoded()))
	}
	return none, logicError("Expected type %s but found %s.", what, typeName(args[i]))
}

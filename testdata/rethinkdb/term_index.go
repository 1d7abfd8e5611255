package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/rethinkdb/rethinkdb-go.v6/ql2"
)

// Secondary indexes are kept as they were defined, listed, and given back; nothing is looked up by them.
func indexTerms() map[ql2.Term_TermType]term {
	return map[ql2.Term_TermType]term{
		ql2.Term_INDEX_CREATE: createIndex,
		ql2.Term_INDEX_DROP:   dropIndex,
		ql2.Term_INDEX_LIST: func(_ context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
			t, err := argument[*documentTable](args, 0, "TABLE")
			if err != nil {
				return nil, err
			}
			var names []string
			for _, one := range t.config.Indexes {
				names = append(names, one.Name)
			}
			return listed(names...), nil
		},
		ql2.Term_INDEX_STATUS: indexStatus,
		ql2.Term_INDEX_WAIT:   indexStatus,
	}
}

// functionMark begins each function that the real server hands out.
const functionMark = "$reql_index_function$"

func createIndex(ctx context.Context, e *evaluation, args []any, options map[string]any) (any, error) {
	if err := only(options, "multi", "geo"); err != nil {
		return nil, err
	}
	t, err := argument[*documentTable](args, 0, "TABLE")
	if err != nil {
		return nil, err
	}
	name, err := argument[string](args, 1, "STRING")
	if err != nil {
		return nil, err
	}
	at := func(one index) bool { return one.Name == name }
	if name == t.config.PrimaryKey || slices.ContainsFunc(t.config.Indexes, at) {
		return nil, &queryError{opFailed, fmt.Sprintf("Index `%s` already exists on table `%s`.", name, e.mesh.fullName(t.config))}
	}
	made := index{Name: name, Multi: options["multi"] == true, Geo: options["geo"] == true}
	definition := fmt.Sprintf("function(_var1) { return _var1(%q); }", name)
	if len(args) > 2 {
		definition = string(canonical(args[2]))
	}
	made.Function = base64.StdEncoding.EncodeToString([]byte(functionMark + definition))
	if len(args) > 2 {
		given, _ := args[2].(map[string]any)
		if given[pseudoType] == "BINARY" {
			made.Function, _ = given["data"].(string)
			text, err := base64.StdEncoding.DecodeString(made.Function)
			if err != nil || !strings.HasPrefix(string(text), functionMark) {
				return nil, logicError("Cannot create an index except from a reql_index_function returned from `index_status` in the field `function`.")
			}
			definition = string(text[len(functionMark):])
		}
	}
	made.Query = fmt.Sprintf("indexCreate('%s', %s)", name, definition)
	t.config.Indexes = append(t.config.Indexes, made)
	return map[string]any{"created": 1}, e.mesh.saveTable(ctx, t.id, t.config)
}

func dropIndex(ctx context.Context, e *evaluation, args []any, _ map[string]any) (any, error) {
	t, err := argument[*documentTable](args, 0, "TABLE")
	if err != nil {
		return nil, err
	}
	name, err := argument[string](args, 1, "STRING")
	if err != nil {
		return nil, err
	}
	left := slices.DeleteFunc(slices.Clone(t.config.Indexes), func(one index) bool { return one.Name == name })
	if len(left) == len(t.config.Indexes) {
		return nil, e.mesh.noIndex(t, name)
	}
	t.config.Indexes = left
	return map[string]any{"dropped": 1}, e.mesh.saveTable(ctx, t.id, t.config)
}

func (m *mesh) noIndex(t *documentTable, name string) error {
	return &queryError{opFailed, fmt.Sprintf("Index `%s` was not found on table `%s`.", name, m.fullName(t.config))}
}

func indexStatus(_ context.Context, e *evaluation, args []any, _ map[string]any) (any, error) {
	t, err := argument[*documentTable](args, 0, "TABLE")
	if err != nil {
		return nil, err
	}
	wanted := args[1:]
	for _, one := range wanted {
		name, _ := one.(string)
		if !slices.ContainsFunc(t.config.Indexes, func(has index) bool { return has.Name == name }) {
			return nil, e.mesh.noIndex(t, name)
		}
	}
	status := []any{}
	for _, one := range t.config.Indexes {
		if len(wanted) > 0 && !slices.Contains(wanted, any(one.Name)) {
			continue
		}
		status = append(status, map[string]any{
			"index": one.Name, "ready": true, "outdated": false, "multi": one.Multi, "geo": one.Geo, "query": one.Query,
			"function": map[string]any{pseudoType: "BINARY", "data": one.Function},
		})
	}
	return status, nil
}

func (m *mesh) fullName(t tableRecord) string {
	return m.store.names(kindDatabase)[t.Database] + "." + t.Name
}

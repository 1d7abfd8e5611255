package main

import (
	"context"
	"slices"
	"strings"

	"gopkg.in/rethinkdb/rethinkdb-go.v6/ql2"
)

func selectTerms() map[ql2.Term_TermType]term {
	return map[ql2.Term_TermType]term{
		ql2.Term_DB:      findDatabase,
		ql2.Term_TABLE:   findTable,
		ql2.Term_GET:     getOne,
		ql2.Term_GET_ALL: getAll,
		ql2.Term_BETWEEN: getBetween,
	}
}

const systemDatabase = "rethinkdb"

func findDatabase(_ context.Context, e *evaluation, args []any, _ map[string]any) (any, error) {
	name, err := argument[string](args, 0, "STRING")
	if err != nil || name == systemDatabase {
		return database{name: name}, err
	}
	ids := byName(e.mesh.store.names(kindDatabase), name)
	switch len(ids) {
	case 0:
		return nil, &queryError{opFailed, "Database `" + name + "` does not exist."}
	case 1:
		return database{ids[0], name}, nil
	}
	return nil, &queryError{opFailed, "Database `" + name + "` is ambiguous; there are multiple databases with that name."}
}

// databaseOf is the first argument if that is a database, else the one of the query's options, else `test`.
func (e *evaluation) databaseOf(ctx context.Context, args []any) (database, []any, error) {
	if len(args) > 0 {
		if db, ok := args[0].(database); ok {
			return db, args[1:], nil
		}
	}
	var value any
	var err error
	if chosen, ok := e.options["db"]; ok {
		value, err = e.evaluate(ctx, chosen)
	} else {
		value, err = findDatabase(ctx, e, []any{"test"}, nil)
	}
	db, _ := value.(database)
	return db, args, err
}

func findTable(ctx context.Context, e *evaluation, args []any, options map[string]any) (any, error) {
	if err := only(options, "read_mode", "identifier_format"); err != nil {
		return nil, err
	}
	db, args, err := e.databaseOf(ctx, args)
	if err != nil {
		return nil, err
	}
	name, err := argument[string](args, 0, "STRING")
	if err != nil {
		return nil, err
	}
	if db.name == systemDatabase {
		return e.mesh.systemTable(name, options["identifier_format"] == "uuid")
	}
	mode := single
	if chosen, ok := options["read_mode"]; ok {
		text, _ := chosen.(string)
		if mode = readMode(text); mode != single && mode != majority && mode != outdated {
			return nil, logicError("Read mode `%s` unrecognized (options are \"majority\", \"single\", and \"outdated\").", printed(chosen))
		}
	}
	tables := e.mesh.tables(db)
	ids := byName(tables, name)
	switch len(ids) {
	case 0:
		return nil, &queryError{opFailed, "Table `" + db.name + "." + name + "` does not exist."}
	case 1:
		t, _, _ := e.mesh.store.table(ids[0])
		return &documentTable{e.mesh, ids[0], t, mode}, nil
	}
	return nil, &queryError{opFailed, "Table `" + db.name + "." + name + "` is ambiguous; there are multiple tables with that name."}
}

// tables are the names of a database's tables, by id.
func (m *mesh) tables(db database) map[string]string {
	names := map[string]string{}
	for _, r := range m.store.records(kindTable) {
		if t, _, ok := m.store.table(r.ID); ok && t.Database == db.id {
			names[r.ID] = t.Name
		}
	}
	return names
}

func getOne(ctx context.Context, _ *evaluation, args []any, _ map[string]any) (any, error) {
	t, err := argument[table](args, 0, "TABLE")
	if err != nil {
		return nil, err
	}
	value, err := argument[any](args, 1, "DATUM")
	if err != nil {
		return nil, err
	}
	key, err := encodeKey(value)
	if err != nil {
		return nil, err
	}
	answer, err := t.read(ctx, scanRequest{Keys: []string{key}})
	if err != nil {
		return nil, err
	}
	found := &row{table: t, key: key}
	if len(answer.JSON) > 0 {
		found.text = answer.JSON[0]
	}
	return found, nil
}

func getAll(_ context.Context, _ *evaluation, args []any, options map[string]any) (any, error) {
	t, err := argument[table](args, 0, "TABLE")
	if err != nil {
		return nil, err
	}
	if err := primaryIndex(t, options); err != nil {
		return nil, err
	}
	keys := []string{}
	for _, value := range args[1:] {
		key, err := encodeKey(value)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return scanning(t, scanRequest{Keys: keys}), nil
}

func primaryIndex(t table, options map[string]any) error {
	if index, ok := options["index"]; ok && index != t.primaryKey() {
		return unknown("reading by a secondary index is not part of it (index %s).", printed(index))
	}
	return nil
}

func getBetween(_ context.Context, _ *evaluation, args []any, options map[string]any) (any, error) {
	if err := only(options, "index", "left_bound", "right_bound"); err != nil {
		return nil, err
	}
	selection, err := argument[any](args, 0, "TABLE")
	if err != nil {
		return nil, err
	}
	t, ok := selection.(table)
	if s, isStream := selection.(*stream); isStream && s.whole != nil {
		t, ok = s.table, true
	}
	if !ok || len(args) != 3 {
		return nil, logicError("Expected type TABLE_SLICE and two keys but found %s.", typeName(selection))
	}
	if err := primaryIndex(t, options); err != nil {
		return nil, err
	}
	part := scanRequest{After: options["left_bound"] == "open", ToClosed: options["right_bound"] == "closed"}
	if args[1] == maximum || args[2] == minimum {
		return items(nil), nil
	}
	if args[1] != minimum {
		if part.From, err = encodeKey(args[1]); err != nil {
			return nil, err
		}
	}
	if args[2] != maximum {
		if part.To, err = encodeKey(args[2]); err != nil {
			return nil, err
		}
	}
	return scanning(t, part), nil
}

// compareValues sorts as ReQL does, within one type by value and else by the type's name.
func compareValues(a, b any) int {
	keyA, errA := appendKey(nil, a)
	keyB, errB := appendKey(nil, b)
	if errA != nil || errB != nil {
		return strings.Compare(typeName(a), typeName(b))
	}
	return slices.Compare(keyA, keyB)
}

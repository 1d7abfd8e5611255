package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

func TestHandshakeAndServerInfo(t *testing.T) {
	s := newServer(t, "db0")
	s.start()
	info, err := s.session().Server()
	if err != nil || info.Name != "db0" || len(info.ID) != 36 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestQueries(t *testing.T) {
	s := newServer(t, "db0")
	s.start()
	c := s.session()
	must(t, c, r.DBCreate("app"), nil)
	must(t, c, r.DB("app").TableCreate("t"), nil)
	table := r.DB("app").Table("t")

	res, err := table.Insert([]map[string]any{{"id": 1, "a": "x"}, {"id": 2, "a": "y"}, {"a": "z"}}).RunWrite(c)
	if err != nil || res.Inserted != 3 || len(res.GeneratedKeys) != 1 {
		t.Fatalf("%+v %v", res, err)
	}
	if _, err = table.Insert(map[string]any{"id": 1, "a": "again"}).RunWrite(c); err == nil {
		t.Error("a second insert of one id did not fail")
	}
	contains(t, err, "Duplicate primary key `id`")
	res, err = table.Insert(map[string]any{"id": 1, "b": 5}, r.InsertOpts{Conflict: "update", ReturnChanges: true}).RunWrite(c)
	if err != nil || res.Replaced != 1 || fmt.Sprint(res.Changes[0].NewValue) != "map[a:x b:5 id:1]" {
		t.Errorf("%+v %v", res, err)
	}
	if _, err = table.Insert(map[string]any{"id": 1, "c": 5}, r.InsertOpts{Conflict: "replace"}).RunWrite(c); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(value(t, c, table.Get(1))); got != "map[c:5 id:1]" {
		t.Error(got)
	}
	if got := value(t, c, table.Get("nobody")); got != nil {
		t.Error(got)
	}
	for what, q := range map[string]r.Term{
		"3":                            table.Count(),
		"2":                            table.GetAll(1, 2).Count(),
		"1":                            table.Filter(map[string]any{"a": "y"}).Count(),
		"map[a:y]":                     table.Get(2).Pluck("a"),
		"y":                            table.Get(2).Field("a"),
		"map[a:y id:2]":                table.OrderBy(r.OrderByOpts{Index: "id"}).Skip(1).Limit(1).Nth(0),
		"[app rethinkdb test]":         r.DBList(),
		"[t]":                          r.DB("app").TableList(),
		"map[id:1 new:map[x:1] s:[1]]": r.Expr(map[string]any{"id": 1, "new": map[string]any{"x": 1}, "s": []int{1}}),
	} {
		if got := value(t, c, q); fmt.Sprint(got) != what && fmt.Sprint([]any{got}) != what {
			var all []any
			must(t, c, q, &all)
			if fmt.Sprint(all) != what {
				t.Errorf("%s gives %v, not %s", q, all, what)
			}
		}
	}
	var rows []map[string]any
	must(t, c, table.Between(2, r.MaxVal).OrderBy(r.OrderByOpts{Index: "id"}), &rows)
	if len(rows) != 2 || fmt.Sprint(rows[0]["id"]) != "2" {
		t.Errorf("%v", rows)
	}
	if res, err := table.Filter(map[string]any{"a": "y"}).Update(map[string]any{"a": "w", "o": map[string]any{"p": 1}}).RunWrite(c); err != nil || res.Replaced != 1 {
		t.Errorf("%+v %v", res, err)
	}
	if res, err := table.Get(2).Update(map[string]any{"o": r.Literal(map[string]any{"q": 2})}).RunWrite(c); err != nil || res.Replaced != 1 {
		t.Errorf("%+v %v", res, err)
	}
	if got := fmt.Sprint(value(t, c, table.Get(2))); got != "map[a:w id:2 o:map[q:2]]" {
		t.Error(got)
	}
	if res, err := table.Get(2).Replace(map[string]any{"id": 2}).RunWrite(c); err != nil || res.Replaced != 1 {
		t.Errorf("%+v %v", res, err)
	}
	if res, err := table.Get(2).Delete().RunWrite(c); err != nil || res.Deleted != 1 {
		t.Errorf("%+v %v", res, err)
	}
	if res, err := table.Delete().RunWrite(c); err != nil || res.Deleted != 2 {
		t.Errorf("%+v %v", res, err)
	}
	must(t, c, table.Sync(), nil)
	must(t, c, table.Wait(), nil)
	must(t, c, r.DB("app").TableDrop("t"), nil)
	must(t, c, r.DBDrop("app"), nil)
}

func TestErrorsHaveTheirTypes(t *testing.T) {
	s := newServer(t, "db0")
	s.start()
	c := s.session()
	must(t, c, r.TableCreate("t"), nil)
	opFailed, compile, missing, logic := r.RQLOpFailedError{}, r.RQLCompileError{}, r.RQLNonExistenceError{}, r.RQLQueryLogicError{}
	for _, one := range []struct {
		q    r.Term
		kind any
		says string
	}{
		{r.DB("none").TableList(), &opFailed, "Database `none` does not exist."},
		{r.Table("none"), &opFailed, "Table `test.none` does not exist."},
		{r.TableCreate("t"), &opFailed, "Table `test.t` already exists."},
		{r.Table("t").Map(func(row r.Term) r.Term { return row }), &compile, "stand-in"},
		{r.Expr(map[string]any{"a": 1}).Field("b"), &missing, "No attribute `b`"},
		{r.Table("t").Get([]any{nil}), &logic, "Primary keys must be"},
		{r.DB("rethinkdb").Table("server_status").Update(map[string]any{"x": 1}), &opFailed, "illegal to write"},
	} {
		err := query(c, one.q, nil)
		if !errors.As(err, one.kind) {
			t.Errorf("%s: %T %v", one.q, err, err)
		}
		contains(t, err, one.says)
	}
}

func TestTimesAndBytesComeBackAsTheyWere(t *testing.T) {
	s := newServer(t, "db0")
	s.start()
	c := s.session()
	must(t, c, r.TableCreate("t"), nil)
	at := time.Date(2026, 2, 3, 4, 5, 6, 7e6, time.UTC)
	must(t, c, r.Table("t").Insert(map[string]any{"id": 1, "at": at, "b": []byte("\x00\xff")}), nil)
	got := value(t, c, r.Table("t").Get(1)).(map[string]any)
	if !got["at"].(time.Time).Equal(at) || string(got["b"].([]byte)) != "\x00\xff" {
		t.Errorf("%v", got)
	}
	cursor, err := r.Table("t").Run(c, r.RunOpts{TimeFormat: "raw", BinaryFormat: "raw"})
	if err != nil {
		t.Fatal(err)
	}
	var raw []map[string]any
	if err := cursor.All(&raw); err != nil || raw[0]["b"].(map[string]any)["$reql_type$"] != "BINARY" {
		t.Errorf("%v %v", raw, err)
	}
}

func TestIndexesAreDefinedAndGivenBack(t *testing.T) {
	s := newServer(t, "db0")
	s.start()
	c := s.session()
	must(t, c, r.TableCreate("t"), nil)
	must(t, c, r.TableCreate("u"), nil)
	must(t, c, r.Table("t").IndexCreate("a"), nil)
	must(t, c, r.Table("t").IndexCreateFunc("b", func(row r.Term) any { return row.Field("x").Add(1) }, r.IndexCreateOpts{Multi: true}), nil)
	type status struct {
		Index, Query string
		Function     []byte
		Multi, Ready bool
	}
	var has []status
	must(t, c, r.Table("t").IndexStatus(), &has)
	if len(has) != 2 || !has[1].Multi || !has[0].Ready || has[0].Query == "" || len(has[0].Function) == 0 {
		t.Fatalf("%+v", has)
	}
	for _, one := range has {
		must(t, c, r.Table("u").IndexCreateFunc(one.Index, one.Function, r.IndexCreateOpts{Multi: one.Multi}), nil)
	}
	var copied []status
	must(t, c, r.Table("u").IndexWait(), &copied)
	if fmt.Sprint(copied) != fmt.Sprint(has) {
		t.Errorf("%+v is not %+v", copied, has)
	}
	must(t, c, r.Table("u").IndexDrop("a"), nil)
	if got := fmt.Sprint(value(t, c, r.Table("u").IndexList())); got != "b" {
		t.Error(got)
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	s := newServer(t, "db0", "--initial-password", "secret")
	s.start()
	right := func(o *r.ConnectOpts) { o.Password = "secret" }
	c := s.session(right)
	for name, opts := range map[string]r.ConnectOpts{
		"no password":  {Address: s.address()},
		"a wrong one":  {Address: s.address(), Password: "Secret"},
		"unknown user": {Address: s.address(), Username: "bob", Password: "secret"},
	} {
		_, err := r.Connect(opts)
		if auth := (r.RQLAuthError{}); !errors.As(err, &auth) {
			t.Errorf("%s: %T %v", name, err, err)
		}
	}
	must(t, c, r.DB("rethinkdb").Table("users").Get("admin").Update(map[string]any{"password": "other"}), nil)
	if _, err := r.Connect(r.ConnectOpts{Address: s.address(), Password: "secret"}); err == nil {
		t.Error("the old password still works")
	}
	s.kill()
	s.start()
	s.session(func(o *r.ConnectOpts) { o.Password = "other" })
}

func TestAHundredThousandDocuments(t *testing.T) {
	all := cluster(t, 3)
	c := all[1].session()
	must(t, c, r.TableCreate("t", r.TableCreateOpts{Replicas: 3}), nil)
	began := time.Now()
	for i := range 250 {
		batch := make([]map[string]any, 400)
		for j := range batch {
			batch[j] = map[string]any{"n": i*400 + j, "text": "some text that makes the document a little longer", "at": r.Now()}
		}
		if res, err := r.Table("t").Insert(batch).RunWrite(c); err != nil || res.Inserted != 400 {
			t.Fatalf("%+v %v", res, err)
		}
	}
	t.Logf("inserted in %s", time.Since(began))
	began = time.Now()
	cursor, err := r.Table("t").Run(all[2].session())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	var row struct{ N int }
	for cursor.Next(&row) {
		seen[row.N] = true
	}
	if cursor.Err() != nil || len(seen) != 100_000 {
		t.Errorf("%d, %v", len(seen), cursor.Err())
	}
	t.Logf("scanned in %s", time.Since(began))
	if got := fmt.Sprint(value(t, c, r.Table("t").Count())); got != "100000" {
		t.Error(got)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// writer inserts one document after the other through any server that answers, and remembers which were acknowledged.
type writer struct {
	table        r.Term
	mu           sync.Mutex
	acknowledged []string
	longest      time.Duration // between two acknowledgements
}

func (w *writer) run(ctx context.Context, name string, all []*server) {
	var session *r.Session
	last := time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		if session == nil || !session.IsConnected() {
			var err error
			session, err = r.Connect(r.ConnectOpts{Address: all[i%len(all)].address(), Timeout: time.Second})
			if err != nil {
				session = nil
				time.Sleep(10 * time.Millisecond)
				continue
			}
		}
		id := fmt.Sprintf("%s-%06d", name, i)
		query, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		answer, err := w.table.Insert(map[string]any{"id": id}).RunWrite(session, r.RunOpts{Context: query})
		cancel()
		if err != nil || answer.Inserted != 1 {
			_ = session.Close()
			session = nil
			continue
		}
		w.mu.Lock()
		w.acknowledged = append(w.acknowledged, id)
		w.longest = max(w.longest, time.Since(last))
		w.mu.Unlock()
		last = time.Now()
	}
	if session != nil {
		_ = session.Close()
	}
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acknowledged)
}

func (w *writer) missing(t *testing.T, session *r.Session) (missing []string) {
	t.Helper()
	var rows []struct{ ID string }
	must(t, session, w.table, &rows)
	has := map[string]bool{}
	for _, row := range rows {
		has[row.ID] = true
	}
	for _, id := range w.acknowledged {
		if !has[id] {
			missing = append(missing, id)
		}
	}
	return missing
}

func TestNoAcknowledgedWriteIsLostWhenEachServerIsKilledInTurn(t *testing.T) {
	all := cluster(t, 3)
	must(t, all[0].session(), r.TableCreate("t", r.TableCreateOpts{Replicas: 3}), nil)
	w := &writer{table: r.Table("t")}
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	for i := range 4 {
		writing.Go(func() { w.run(ctx, fmt.Sprint("w", i), all) })
	}
	more := func(what string) {
		before := w.count()
		eventually(t, "writes go on "+what, func() error {
			if w.count() < before+20 {
				return fmt.Errorf("%d after %d", w.count(), before)
			}
			return nil
		})
	}
	for range 2 {
		for i, s := range all {
			more("before " + s.name + " is killed")
			s.kill()
			more("without " + s.name)
			s.start(all[(i+1)%3], all[(i+2)%3])
			whole(t, all)
			ready(t, all[(i+1)%3].session(), w.table)
		}
	}
	stop()
	writing.Wait()
	for _, s := range all {
		if missing := w.missing(t, s.session()); len(missing) > 0 {
			t.Errorf("%s lost %d of %d: %v", s.name, len(missing), w.count(), missing[:min(5, len(missing))])
		}
	}
	t.Logf("%d acknowledged, the longest pause %s", w.count(), w.longest)

	// All at once, and what each kept by itself.
	for _, s := range all {
		s.kill()
	}
	all[0].start()
	all[1].start(all[0])
	all[2].start(all[0])
	whole(t, all)
	session := all[2].session()
	ready(t, session, w.table)
	if missing := w.missing(t, session); len(missing) > 0 {
		t.Errorf("lost %d of %d when all were killed", len(missing), w.count())
	}
	for _, s := range all {
		var rows []any
		must(t, s.session(), r.Table("t", r.TableOpts{ReadMode: "outdated"}), &rows)
		if len(rows) < w.count() {
			t.Errorf("%s has %d of %d", s.name, len(rows), w.count())
		}
	}
}

func TestATableWithoutAMajorityRefuses(t *testing.T) {
	all := cluster(t, 3)
	c := all[0].session()
	must(t, c, r.TableCreate("t", r.TableCreateOpts{Replicas: 3}), nil)
	must(t, c, r.Table("t").Insert(map[string]any{"id": 1}), nil)
	all[1].kill()
	eventually(t, "an issue", func() error {
		var issues []struct{ Type string }
		must(t, c, r.DB("rethinkdb").Table("current_issues"), &issues)
		if len(issues) != 1 || issues[0].Type != "table_availability" {
			return fmt.Errorf("%v", issues)
		}
		return nil
	})
	all[2].kill()
	eventually(t, "refused", func() error {
		err := query(c, r.Table("t"), nil)
		_, err2 := r.Table("t").Insert(map[string]any{"id": 2}).RunWrite(c)
		for _, err := range []error{err, err2} {
			if failed := (r.RQLOpFailedError{}); !errors.As(err, &failed) {
				return fmt.Errorf("%T %w", err, err)
			}
		}
		contains(t, err, `Cannot perform read: primary replica for shard ["", +inf) not available`)
		return nil
	})
	var rows []any
	must(t, c, r.Table("t", r.TableOpts{ReadMode: "outdated"}), &rows)
	if len(rows) != 1 {
		t.Errorf("%v", rows)
	}
	// What is left can be repaired, and is offered nothing less.
	contains(t, query(c, r.Table("t").Reconfigure(r.ReconfigureOpts{Shards: 1, Replicas: 1}), nil), "not available")
	must(t, c, r.Table("t").Reconfigure(r.ReconfigureOpts{EmergencyRepair: "unsafe_rollback"}), nil)
	eventually(t, "repaired", func() error { return query(c, r.Table("t").Insert(map[string]any{"id": 3}), nil) })
}

func TestReconfigureMovesTheData(t *testing.T) {
	all := cluster(t, 4)
	c := all[0].session()
	for i, s := range all {
		region := []string{"ams", "fra"}[i%2]
		q := r.DB("rethinkdb").Table("server_config").Filter(map[string]any{"name": s.name}).Update(map[string]any{"tags": []string{"default", region}})
		must(t, c, q, nil)
	}
	must(t, c, r.TableCreate("t"), nil)
	table := r.Table("t")
	for i := range 50 {
		must(t, c, table.Insert(map[string]any{"id": i}), nil)
	}
	type config struct {
		Shards []struct {
			Primary  string `rethinkdb:"primary_replica"`
			Replicas []string
		}
	}
	now := func() config {
		var found []config
		must(t, c, r.DB("rethinkdb").Table("table_config"), &found)
		return found[0]
	}
	primary := now().Shards[0].Primary
	answer := value(t, c, table.Reconfigure(r.ReconfigureOpts{Shards: 1, Replicas: 3, DryRun: true})).(map[string]any)
	if fmt.Sprint(answer["reconfigured"]) != "0" || len(now().Shards[0].Replicas) != 1 {
		t.Errorf("a dry run changed %v", answer)
	}
	must(t, c, table.Reconfigure(r.ReconfigureOpts{Shards: 1, Replicas: 3}), nil)
	if got := now(); len(got.Shards[0].Replicas) != 3 || got.Shards[0].Primary != primary {
		t.Errorf("%v", got)
	}
	// By tag, and then by hand to servers that had none of it.
	must(t, c, table.Reconfigure(r.ReconfigureOpts{
		Shards: 2, Replicas: map[string]int{"ams": 1, "fra": 1}, PrimaryReplicaTag: "fra",
	}), nil)
	if got := now(); len(got.Shards) != 2 || got.Shards[0].Primary != "db1" && got.Shards[0].Primary != "db3" {
		t.Errorf("%v", got)
	}
	must(t, c, table.Config().Update(map[string]any{"shards": []any{
		map[string]any{"primary_replica": "db2", "replicas": []string{"db2", "db3"}, "nonvoting_replicas": []string{}},
	}}), nil)
	ready(t, c, table)
	all[1].kill()
	if got := fmt.Sprint(value(t, c, table.Count())); got != "50" {
		t.Errorf("%s of 50 documents", got)
	}
	contains(t, query(c, table.Reconfigure(r.ReconfigureOpts{Shards: 1, Replicas: 9}), nil), "Can't put 9 replicas")
}

func TestClustersThatEachMadeADatabaseTestAreAmbiguous(t *testing.T) {
	a, b := newServer(t, "a"), newServer(t, "b")
	a.start()
	a.session()
	b.start()
	b.session()
	b.kill()
	b.start(a)
	whole(t, []*server{a, b})
	c := a.session()
	eventually(t, "an issue", func() error {
		var issues []struct{ Type string }
		must(t, c, r.DB("rethinkdb").Table("current_issues"), &issues)
		if len(issues) != 1 || issues[0].Type != "db_name_collision" {
			return fmt.Errorf("%v", issues)
		}
		return nil
	})
	contains(t, query(c, r.DB("test").TableList(), nil), "ambiguous")
}

func TestConcurrentUpdatesOfOneDocumentAllCount(t *testing.T) {
	all := cluster(t, 3)
	must(t, all[0].session(), r.TableCreate("t", r.TableCreateOpts{Replicas: 3}), nil)
	must(t, all[0].session(), r.Table("t").Insert(map[string]any{"id": 1}), nil)
	var failed atomic.Int32
	var writing sync.WaitGroup
	for i := range 30 {
		session := all[i%3].session()
		writing.Go(func() {
			if _, err := r.Table("t").Get(1).Update(map[string]any{fmt.Sprint("f", i): true}).RunWrite(session); err != nil {
				failed.Add(1)
			}
		})
	}
	writing.Wait()
	got := value(t, all[1].session(), r.Table("t").Get(1)).(map[string]any)
	if failed.Load() > 0 || len(got) != 31 {
		t.Errorf("%d failed, %d fields", failed.Load(), len(got))
	}
}

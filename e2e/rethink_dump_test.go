package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// A dump comes back the same, document by document, and one that is
// interrupted leaves nothing under its name.
func TestRethinkDumpAndRestore(t *testing.T) {
	const documents = 100_000
	u := newUser(t)
	c := &cluster{user: u, env: u.environment("dump"), servers: 2}
	u.must("nodes", "create", "-m", "1", c.env)
	u.must("rethink", "create", "--image", rethinkImage, c.env)
	c.connect()
	c.do(r.DBCreate("shop"))
	c.do(r.DB("shop").TableCreate("orders", r.TableCreateOpts{Shards: 1, Replicas: 1}))
	c.do(r.DB("shop").Table("orders").IndexCreate("customer"))
	c.do(r.DB("shop").TableCreate("empty"))
	for from := 0; from < documents; from += 1000 {
		var docs []any
		for n := range 1000 {
			docs = append(docs, map[string]any{"id": from + n, "customer": fmt.Sprint("c", n%100), "at": time.Unix(int64(n), 0), "raw": []byte{1, byte(n)}})
		}
		c.do(r.DB("shop").Table("orders").Insert(docs, r.InsertOpts{Durability: "soft"}))
	}
	c.do(r.DB("shop").Table("orders").Sync())

	dir := t.TempDir()
	file := filepath.Join(dir, "shop.jsonl.gz")
	t.Run("interrupted", func(t *testing.T) { interruptedDump(t, c, file) })
	dumped := u.must("rethink", "dump", c.env, file)
	t.Logf("dump: %s", dumped.took)
	u.refused(1, []string{"--force", "shop."}, "rethink", "restore", c.env, file)
	c.do(r.DB("shop").Table("orders").Get(7).Update(map[string]any{"customer": "nobody"}))
	restored := u.must("rethink", "restore", "--force", c.env, file)
	t.Logf("restore: %s", restored.took)
	if dumped.out != restored.out || !strings.Contains(dumped.out, fmt.Sprint(documents)) {
		t.Errorf("dumped\n%s\nrestored\n%s", dumped.out, restored.out)
	}
	var indexes []string
	if err := r.DB("shop").Table("orders").IndexList().ReadAll(&indexes, c.session); err != nil || !slices.Equal(indexes, []string{"customer"}) {
		t.Errorf("indexes %v, %v", indexes, err)
	}
	again := filepath.Join(dir, "again.jsonl.gz")
	if second := u.must("rethink", "dump", c.env, again); second.out != dumped.out {
		t.Errorf("dumped again\n%s", second.out)
	}

	// Into another life of the cluster, from an archive that is whole only.
	u.must("rethink", "rm", "-f", "--volumes", c.env)
	u.must("rethink", "create", "--image", rethinkImage, c.env)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.jsonl.gz")
	if err := os.WriteFile(cut, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	u.refused(1, []string{"cut off"}, "rethink", "restore", c.env, cut)
	u.refused(1, []string{"no archive"}, "rethink", "restore", c.env, "rethink_dump_test.go")
	if s, _ := c.status(); len(s.Tables) > 0 {
		t.Errorf("a restore that failed left %+v", s.Tables)
	}
	if second := u.must("rethink", "restore", c.env, file); second.out != dumped.out {
		t.Errorf("restored into an empty cluster\n%s", second.out)
	}
}

func interruptedDump(t *testing.T, c *cluster, file string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	command := c.command(ctx, "rethink", "dump", c.env, file)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the dump has begun to write", func() error {
		parts, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".*.part"))
		if err == nil && len(parts) == 0 {
			err = errors.New("there is no file")
		}
		return err
	})
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait()
	if code := command.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d", code)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

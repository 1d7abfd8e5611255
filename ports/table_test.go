package ports

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// take gives the tunnel the first candidate that is not busy, as claim does.
func (t *table) take(env string, to target, busy ...int) int {
	t.add(env)
	for port := range t.candidates(env, to) {
		if !slices.Contains(busy, port) {
			t.opened(env, to, Local{Port: port})
			return port
		}
	}
	return 0
}

func TestTablePorts(t *testing.T) {
	type step struct {
		env  string
		to   target
		busy []int
		want int
	}
	web, admin := target{"web", 8080}, target{"admin", 8080}
	for name, steps := range map[string][]step{
		"each environment has its offset for every port": {
			{"dev", web, nil, 8080},
			{"tst", web, nil, 8081},
			{"acc", web, nil, 8082},
			{"tst", target{"db", 28015}, nil, 28016},
			{"dev", target{"db", 28015}, nil, 28015},
		},
		"opening again gives the same port": {
			{"dev", web, []int{8080}, 8081},
			{"dev", web, nil, 8081},
		},
		"a port that was taken since moves on": {
			{"dev", web, nil, 8080},
			{"dev", web, []int{8080, 8081}, 8082},
			{"dev", web, nil, 8082},
		},
		"a port that another environment was given is not given again": {
			{"dev", web, nil, 8080},
			{"dev", admin, nil, 8081},
			{"tst", web, nil, 8082},
			{"tst", target{"web", 8079}, nil, 8083},
		},
		"and an environment's services do not take each other's": {
			{"dev", web, []int{8080}, 8081},
			{"dev", target{"metrics", 8081}, nil, 8082},
		},
		"the end of the range goes on at its start": {
			{"dev", target{"a", 65535}, nil, 65535},
			{"tst", target{"a", 65535}, nil, 1024},
			{"acc", target{"a", 65535}, nil, 1025},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var table table
			for i, s := range steps {
				if got := table.take(s.env, s.to, s.busy...); got != s.want {
					t.Errorf("step %d: %s %s got port %d, want %d", i, s.env, s.to, got, s.want)
				}
			}
		})
	}
}

// Only with all others busy does a tunnel get what another was given.
func TestTableGivesOthersPortsLast(t *testing.T) {
	var table table
	table.take("dev", target{"web", 8080})
	table.add("tst")
	all := slices.Collect(table.candidates("tst", target{"web", 8080}))
	if last := all[len(all)-1]; last != 8080 {
		t.Errorf("the last candidate is %d, want 8080, which dev has", last)
	}
	slices.Sort(all)
	if want := maxPort - firstFreePort + 1; len(slices.Compact(all)) != want || len(all) != want {
		t.Errorf("%d candidates, want each of %d ports once", len(all), want)
	}
}

// An offset that is free in the middle goes first: tables can be mended by hand.
func TestTableLowestOffset(t *testing.T) {
	table := table{Environments: map[string]environment{"a": {Offset: 0}, "c": {Offset: 2}}}
	table.add("b")
	table.add("d")
	if b, d := table.Environments["b"].Offset, table.Environments["d"].Offset; b != 1 || d != 3 {
		t.Errorf("offsets %d and %d, want 1 and 3", b, d)
	}
}

func TestTableKeepsThePortOfAClosedTunnel(t *testing.T) {
	var table table
	web, db := target{"web", 8080}, target{"db", 28015}
	table.take("dev", web, 8080)
	table.take("dev", db)
	if got := table.closed("dev", selection(web)); len(got) != 1 || got[0].LocalPort != 8081 || got[0].Alive {
		t.Errorf("closed %v, want web's", got)
	}
	if got := table.open("dev"); len(got) != 1 || got[0].target() != db {
		t.Errorf("open: %v, want db's alone", got)
	}
	if got := table.closed("dev", selection(web)); len(got) != 0 {
		t.Errorf("closed twice: %v", got)
	}
	if got := table.take("dev", web); got != 8081 {
		t.Errorf("reopened on %d, want 8081", got)
	}
}

func TestTableFileSurvives(t *testing.T) {
	file := tableFile(filepath.Join(t.TempDir(), "tunnels.json"))
	ctx := t.Context()
	if got, err := file.read(ctx); err != nil || len(got.Environments) != 0 {
		t.Fatalf("no file reads as %v, %v", got, err)
	}
	if err := file.update(ctx, func(*table) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(string(file)); !os.IsNotExist(err) {
		t.Errorf("an update without a change wrote the file: %v", err)
	}
	// Each writer adds an environment to what the others wrote.
	var writers sync.WaitGroup
	for _, env := range strings.Split("abcdefghijklmnop", "") {
		writers.Go(func() {
			if err := file.update(ctx, func(tab *table) error { tab.take(env, target{"web", 80}); return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	got, err := file.read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var offsets []int
	for _, e := range got.Environments {
		offsets = append(offsets, e.Offset)
	}
	slices.Sort(offsets)
	for i, offset := range offsets {
		if offset != i || len(offsets) != 16 {
			t.Fatalf("offsets %v, want 0 to 15", offsets)
		}
	}
	info, err := os.Stat(string(file))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode != 0o600 {
		t.Errorf("the file's mode is %o", mode)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(string(file)), ".tunnels-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTableFileOfGarbage(t *testing.T) {
	for name, text := range map[string]string{
		"empty":        "",
		"cut off":      `{"environments": {"dev": {"off`,
		"not a table":  `["dev"]`,
		"two tables":   `{} {}`,
		"bad offset":   `{"environments": {"dev": {"offset": -1}}}`,
		"bad port":     `{"environments": {"dev": {"tunnels": [{"service": "web", "remote_port": 80, "local_port": 99999}]}}}`,
		"no service":   `{"environments": {"dev": {"tunnels": [{"remote_port": 80, "local_port": 80}]}}}`,
		"binary noise": "\x00\xff\x00",
	} {
		t.Run(name, func(t *testing.T) {
			file := tableFile(filepath.Join(t.TempDir(), "tunnels.json"))
			if err := os.WriteFile(string(file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := file.read(t.Context())
			if err == nil || !strings.Contains(err.Error(), string(file)) || !strings.Contains(err.Error(), "damaged") {
				t.Errorf("read: %v, want an error that names the file", err)
			}
			err = file.update(t.Context(), func(*table) error { t.Error("the change ran"); return nil })
			if err == nil {
				t.Error("update took it")
			}
			if now, _ := os.ReadFile(string(file)); string(now) != text {
				t.Errorf("the file was changed to %q", now)
			}
		})
	}
}

func TestTableFileLockEndsWithTheContext(t *testing.T) {
	file := tableFile(filepath.Join(t.TempDir(), "tunnels.json"))
	unlock, err := lock(t.Context(), string(file)+".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 3*poll)
	defer cancel()
	if _, err := file.read(ctx); err == nil || ctx.Err() == nil {
		t.Errorf("read past the lock: %v", err)
	}
}

// Whatever is accepted can be written and read again, and gives a port.
func FuzzParseTable(f *testing.F) {
	f.Add([]byte(`{"environments":{"dev":{"offset":3,"tunnels":[{"service":"web","remote_port":8080,"local_port":8083,"open":true}]}}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := parseTable(text)
		if err != nil {
			return
		}
		if port := table.take("dev", target{"web", 8080}); !isPort(port) {
			t.Errorf("port %d", port)
		}
		out, err := table.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseTable(out); err != nil {
			t.Errorf("wrote what it does not read: %v\n%s", err, out)
		}
	})
}

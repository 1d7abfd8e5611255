package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func listBucket(j *journal, name string) (all []string) {
	j.ascend(name, "", func(e entry) bool {
		all = append(all, e.key+"="+string(e.value))
		return true
	})
	return all
}

func TestAJournalKeepsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	open := func() *journal {
		j, err := openJournal(dir)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	save := func(j *journal, changes ...change) {
		if err := j.save(changes...); err != nil {
			t.Fatal(err)
		}
	}
	j := open()
	save(j, change{"b", entry{"2", []byte("two")}}, change{"b", entry{"1", []byte{}}}, change{"c", entry{"x", []byte("y")}})
	save(j, change{"b", entry{"2", nil}}, change{bucket: "c"})
	save(j, change{"b", entry{"3", []byte("three")}})
	save(j, change{"b", entry{"2", []byte("again")}})
	want := []string{"1=", "2=again", "3=three"}
	for range 3 {
		if got := listBucket(j, "b"); !slices.Equal(got, want) || listBucket(j, "c") != nil {
			t.Fatalf("%q", got)
		}
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
		j = open()
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}

	// However much of the end is missing, or wrong, what is before it is there.
	j = open()
	for i := range 5 {
		save(j, change{"n", entry{fmt.Sprint(i), []byte("value")}})
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, journalFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := len(frame([]change{{"n", entry{"0", []byte("value")}}}))
	for cut := 1; cut < last; cut++ {
		torn := slices.Clone(text[:len(text)-cut])
		if cut == last-1 { // wrong bytes instead
			torn = slices.Clone(text)
			torn[len(torn)-1]++
		}
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		j := open()
		if got := listBucket(j, "n"); len(got) != 4 {
			t.Fatalf("%d bytes less: %q", cut, got)
		}
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeysSortAsTheirValues(t *testing.T) {
	sorted := []any{
		[]any{}, []any{1.0}, []any{1.0, 2.0}, []any{"a"}, false, true, math.Inf(-1), -2.5, -1.0, 0.0, 1e-9, 3.0, 1e300,
		map[string]any{pseudoType: "BINARY", "data": "AA=="}, map[string]any{pseudoType: "TIME", "epoch_time": 5.0},
		"", "\x00", "a", "a\x00", "aa", "b",
	}
	shuffled := slices.Clone(sorted)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	slices.SortFunc(shuffled, compareValues)
	if fmt.Sprintf("%q", shuffled) != fmt.Sprintf("%q", sorted) {
		t.Errorf("%q", shuffled)
	}
}

// Two copies that differ anywhere differ in the digest, and level out slot by slot.
func TestDigestsFindWhatDiffers(t *testing.T) {
	stores := make([]*store, 2)
	for i := range stores {
		j, err := openJournal(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = j.close() })
		stores[i] = &store{journal: j}
		var all []document
		for n := range 5000 {
			all = append(all, document{fmt.Sprint(n), stamp{1, uint64(n)}, []byte("{}")})
		}
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if _, err := stores[i].putDocuments("t", all); err != nil {
			t.Fatal(err)
		}
	}
	differing := func() []uint64 { return differences(stores[0].digest("t"), stores[1].digest("t")) }
	if d := differing(); len(d) > 0 {
		t.Fatalf("equal copies differ in %d slots", len(d))
	}
	// A newer version, a deletion, and an old version that must not win.
	for i, documents := range [][]document{
		{{"7", stamp{2, 1}, []byte(`{"a":1}`)}, {"8", stamp{2, 2}, nil}},
		{{"7", stamp{1, 9000}, []byte(`{"b":1}`)}, {"new", stamp{1, 9001}, []byte("{}")}},
	} {
		if _, err := stores[i].putDocuments("t", documents); err != nil {
			t.Fatal(err)
		}
	}
	slots := differing()
	if len(slots) != 3 {
		t.Errorf("they differ in %v", slots)
	}
	for i := range stores {
		if _, err := stores[i].putDocuments("t", stores[1-i].inSlots("t", slots)); err != nil {
			t.Fatal(err)
		}
	}
	if d := differing(); len(d) > 0 {
		t.Errorf("they still differ in %v", d)
	}
	for _, s := range stores {
		if d, _ := s.document("t", "7"); string(d.JSON) != `{"a":1}` {
			t.Errorf("%+v", d)
		}
		if d, _ := s.document("t", "8"); len(d.JSON) > 0 {
			t.Errorf("%+v", d)
		}
	}
}

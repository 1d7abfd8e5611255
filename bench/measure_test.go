//go:build linux

package main

import (
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{3, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{1, 1, 1, 100, 1}, 1},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

func TestBars(t *testing.T) {
	for _, c := range []struct {
		name string
		m    measure
		want bool
	}{
		{"ratio held", measure{skep: []float64{20, 1, 99}, floor: []float64{10, 1, 10}, bar: ratioBar(2)}, true},
		{"ratio missed", measure{skep: []float64{21}, floor: []float64{10}, bar: ratioBar(2)}, false},
		{"median held by one above", measure{skep: []float64{1, 1, 9}, bar: medianBar(2, "")}, true},
		{"median missed", measure{skep: []float64{1, 3, 9}, bar: medianBar(2, "")}, false},
		{"maximum missed by one above", measure{skep: []float64{1, 1, 9}, bar: maximumBar(2, "")}, false},
		{"no bar", measure{skep: []float64{1}}, true},
	} {
		if got := c.m.holds(); got != c.want {
			t.Errorf("%s: holds() = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	show(&out, []measure{
		{name: "create3", skep: []float64{3, 2.5, 4}, floor: []float64{2, 2, 1}, unit: seconds, bar: ratioBar(1.3)},
		{name: "ls", skep: []float64{0.1}, unit: milliseconds, bar: medianBar(0.2, "200 ms")},
		{name: "peak", skep: []float64{15.5e6}, unit: megabytes},
	})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{
		"MEASURE SKEP, MEDIAN (MIN – MAX) FLOOR RATIO ROUNDS BAR",
		"create3 3.00 s (2.50 s – 4.00 s) 2.00 s (1.00 s – 2.00 s) 1.50 3 ratio at most 1.3: MISSED",
		"ls 100.0 ms (100.0 ms – 100.0 ms) - - 1 median under 200 ms: holds",
		"peak 15.5 MB (15.5 MB – 15.5 MB) - - 1 for information",
	} {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want {
			t.Errorf("line %d:\n got %s\nwant %s", i, got, want)
		}
	}
}

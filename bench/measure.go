//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// measure is one thing that was measured, round by round.
type measure struct {
	name  string
	skep  []float64
	floor []float64 // the same done with plain docker commands; empty where there is no such thing
	unit  unit
	bar   bar
}

// unit prints a value.
type unit func(float64) string

func seconds(v float64) string      { return fmt.Sprintf("%.2f s", v) }
func milliseconds(v float64) string { return fmt.Sprintf("%.1f ms", v*1000) }
func megabytes(v float64) string    { return fmt.Sprintf("%.1f MB", v/1e6) }

// bar is what a measure should hold. The zero bar is none: for information.
type bar struct {
	words string
	value func(measure) float64
	most  float64
}

func ratioBar(most float64) bar {
	return bar{fmt.Sprintf("ratio at most %g", most), measure.ratio, most}
}

func medianBar(most float64, words string) bar {
	return bar{"median under " + words, func(m measure) float64 { return median(m.skep) }, most}
}

func maximumBar(most float64, words string) bar {
	return bar{"never above " + words, func(m measure) float64 { return slices.Max(m.skep) }, most}
}

func (m measure) holds() bool { return m.bar.value == nil || m.bar.value(m) <= m.bar.most }

// ratio of the medians.
func (m measure) ratio() float64 { return median(m.skep) / median(m.floor) }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// summary is the median with the least and the most.
func summary(values []float64, in unit) string {
	if len(values) == 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%s – %s)", in(median(values)), in(slices.Min(values)), in(slices.Max(values)))
}

// show prints a table of all measures.
func show(out io.Writer, all []measure) {
	if len(all) == 0 {
		return
	}
	t := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	defer func() { _ = t.Flush() }()
	_, _ = fmt.Fprintln(t, "MEASURE\tSKEP, MEDIAN (MIN – MAX)\tFLOOR\tRATIO\tROUNDS\tBAR\t")
	for _, m := range all {
		ratio, verdict := "-", "for information"
		if len(m.floor) > 0 {
			ratio = fmt.Sprintf("%.2f", m.ratio())
		}
		switch {
		case m.bar.value == nil:
		case m.holds():
			verdict = m.bar.words + ": holds"
		default:
			verdict = m.bar.words + ": MISSED"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t\n", m.name, summary(m.skep, m.unit), summary(m.floor, m.unit), ratio, len(m.skep), verdict)
	}
}

// pair measures one round of each, floor and skep in turns, skep first.
func (b *bench) pair(name string, skep, floor func() (time.Duration, error)) (measure, error) {
	m := measure{name: name, unit: seconds}
	for round := range b.rounds {
		a, err := skep()
		if err != nil {
			return m, fmt.Errorf("skep, round %d: %w", round+1, err)
		}
		z, err := floor()
		if err != nil {
			return m, fmt.Errorf("the floor, round %d: %w", round+1, err)
		}
		b.say("%s, round %d of %d: skep %.2f s, floor %.2f s", name, round+1, b.rounds, a.Seconds(), z.Seconds())
		m.skep, m.floor = append(m.skep, a.Seconds()), append(m.floor, z.Seconds())
	}
	return m, nil
}

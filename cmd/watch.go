package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

const (
	watchEvery = time.Second
	// Off a terminal progress is a line now and then.
	lineEvery = 10 * time.Second
)

// isTerminal says whether the stream is one that lines can be redrawn on.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) // #nosec G115 -- a file descriptor
}

// counting tells how many documents of which table have passed.
func (s *skep) counting(doing string) func(table string, documents int) {
	every := lineEvery
	if isTerminal(s.Err) {
		every = watchEvery
	}
	last := time.Now()
	return func(table string, documents int) {
		if time.Since(last) < every {
			return
		}
		last = time.Now()
		s.log().Info(fmt.Sprintf("%s %s: %d documents", doing, table, documents))
	}
}

// watch shows a result anew every second until the context ends: in place on a
// terminal, one after the other off it.
func (s *skep) watch(ctx context.Context, look func(context.Context) (func(io.Writer), error)) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		text, err := look(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var page bytes.Buffer
		if isTerminal(s.Out) {
			page.WriteString("\x1b[H\x1b[2J")
		}
		if err != nil {
			_, _ = fmt.Fprintln(&page, err)
		} else {
			w := tabwriter.NewWriter(&page, 0, 0, 2, ' ', 0)
			text(w)
			_ = w.Flush()
		}
		if _, err := s.Out.Write(page.Bytes()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

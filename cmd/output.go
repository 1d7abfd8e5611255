package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"text/tabwriter"
)

// print renders a result on stdout: as JSON where that was asked for, else as
// the text that the function writes, in columns where it has tabs.
func (s *skep) print(result any, text func(io.Writer)) error {
	if s.asJSON {
		out := json.NewEncoder(s.Out)
		out.SetIndent("", "  ")
		return out.Encode(result)
	}
	w := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	text(w)
	return w.Flush()
}

func row(w io.Writer, cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		if text[i] = fmt.Sprint(c); text[i] == "" {
			text[i] = "-"
		}
	}
	_, _ = fmt.Fprintln(w, strings.Join(text, "\t"))
}

// lines is a slog.Handler for people: `dev-worker-1: ready`, a line each, the
// same on a terminal and off it.
type lines struct {
	mu    *sync.Mutex // of out, shared with the handlers made of this one
	out   io.Writer
	level slog.Level
	attrs []slog.Attr
}

func (l *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	var before, after string
	add := func(a slog.Attr) bool {
		switch a.Key {
		case "node", "env":
			before += a.Value.String() + ": "
		case "error":
			after += ": " + a.Value.String()
		default:
			after += " " + a.String()
		}
		return true
	}
	for _, a := range l.attrs {
		add(a)
	}
	r.Attrs(add)
	if r.Level >= slog.LevelWarn {
		before = "warning: " + before
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintln(l.out, before+strings.ReplaceAll(r.Message+after, "\n", "; "))
	return err
}

func (l *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lines{mu: l.mu, out: l.out, level: l.level, attrs: append(append([]slog.Attr{}, l.attrs...), attrs...)}
}

func (l *lines) WithGroup(string) slog.Handler { return l }

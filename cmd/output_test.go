package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"skep/usage"
)

func TestLinesArePlainSentences(t *testing.T) {
	for want, write := range map[string]func(*slog.Logger){
		"dev is ready\n":         func(l *slog.Logger) { l.Info("dev is ready") },
		"dev-worker-1: ready\n":  func(l *slog.Logger) { l.Info("ready", "node", "dev-worker-1") },
		"dev: the swarm: late\n": func(l *slog.Logger) { l.Info("the swarm", "env", "dev", "error", errors.New("late")) },
		"taken size=3 of=x\n":    func(l *slog.Logger) { l.Info("taken", "size", 3, slog.String("of", "x")) },
		"warning: a: not drained: no quorum\n": func(l *slog.Logger) {
			l.Warn("not drained", "node", "a", "error", errors.New("no quorum"))
		},
		"warning: lost\n":         func(l *slog.Logger) { l.Error("lost") },
		"one; two: three; four\n": func(l *slog.Logger) { l.Info("one\ntwo", "error", errors.New("three\nfour")) },
		"a: on listener=x\n":      func(l *slog.Logger) { l.With("node", "a").With("listener", "x").Info("on") },
		"joined\n":                func(l *slog.Logger) { l.WithGroup("g").Info("joined") },
		"":                        func(l *slog.Logger) { l.Debug("detail") },
	} {
		var out bytes.Buffer
		write(slog.New(&lines{mu: &sync.Mutex{}, out: &out, level: slog.LevelInfo}))
		if out.String() != want {
			t.Errorf("wrote %q, not %q", out.String(), want)
		}
	}
}

func TestALoggerMadeOfAnotherDoesNotChangeIt(t *testing.T) {
	var out bytes.Buffer
	one := slog.New(&lines{mu: &sync.Mutex{}, out: &out, level: slog.LevelInfo}).With("a", 1)
	_ = one.With("b", 2)
	_ = one.With("c", 3)
	one.Info("said")
	if out.String() != "said a=1\n" {
		t.Errorf("wrote %q", out.String())
	}
}

// Tunnels and their listeners have loggers of their own, and one standard error.
func TestLinesOfSeveralLoggersDoNotMix(t *testing.T) {
	var out bytes.Buffer // which several at once would break, under -race at the least
	one := slog.New(&lines{mu: &sync.Mutex{}, out: &out, level: slog.LevelInfo})
	var writing sync.WaitGroup
	for _, log := range []*slog.Logger{one, one.With("node", "a"), one.With("node", "b")} {
		writing.Go(func() {
			for range 100 {
				log.Info("said")
			}
		})
	}
	writing.Wait()
	if n := strings.Count(out.String(), "said\n"); n != 300 {
		t.Errorf("%d lines", n)
	}
}

func TestQuietAndVerbose(t *testing.T) {
	for _, test := range []struct {
		quiet, verbose bool
		want           string
	}{
		{false, false, "info\nwarning: warn\n"},
		{true, false, "warning: warn\n"},
		{false, true, "debug\ninfo\nwarning: warn\n"},
	} {
		s, out, told := terminal(t)
		s.quiet, s.verbose = test.quiet, test.verbose
		log := s.log()
		log.Debug("debug")
		log.Info("info")
		log.Warn("warn")
		if told.String() != test.want || out.Len() > 0 {
			t.Errorf("%+v: stderr %q, stdout %q", test, told, out)
		}
	}
}

func TestPrint(t *testing.T) {
	result := []struct {
		Name string `json:"name"`
	}{{"dev-worker-1"}}
	text := func(w io.Writer) {
		row(w, "NODE", "ENGINE")
		row(w, "dev-worker-1", "")
	}
	s, out, _ := terminal(t)
	if err := s.print(result, text); err != nil || out.String() != "NODE          ENGINE\ndev-worker-1  -\n" {
		t.Errorf("printed %q, %v", out, err)
	}
	s, out, _ = terminal(t)
	s.asJSON = true
	if err := s.print(result, text); err != nil || out.String() != "[\n  {\n    \"name\": \"dev-worker-1\"\n  }\n]\n" {
		t.Errorf("printed %q, %v", out, err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A result that nobody got is no success.
func TestPrintFailsWhereNothingCanBeWritten(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		s, _, _ := terminal(t)
		s.Out, s.asJSON = full{}, asJSON
		if err := s.print("x", func(w io.Writer) { row(w, "x") }); err == nil {
			t.Errorf("JSON %t: it succeeded", asJSON)
		}
	}
}

func TestExitCode(t *testing.T) {
	interrupted, interrupt := context.WithCancelCause(t.Context())
	interrupt(signalError{2})
	for name, test := range map[string]struct {
		ctx  context.Context
		err  error
		code int
		told string
	}{
		"done":                {t.Context(), nil, 0, ""},
		"failed":              {t.Context(), errors.New("no route"), 1, "skep: no route\n"},
		"of several causes":   {t.Context(), errors.Join(errors.New("a"), errors.New("b\nc")), 1, "skep: a; b; c\n"},
		"wrong usage":         {t.Context(), usage.Errorf("no %s", "port"), 2, "skep: no port\n"},
		"wrong usage, deeper": {t.Context(), fmt.Errorf("deploy: %w", usage.Errorf("no port")), 2, "skep: deploy: no port\n"},
		"the result says it":  {t.Context(), exitError{1}, 1, ""},
		"a command's own":     {t.Context(), fmt.Errorf("ssh: %w", exitError{42}), 42, ""},
		"a signal":            {interrupted, context.Cause(interrupted), 130, "skep: stopped by interrupt\n"},
		"after a signal":      {interrupted, errors.New("no route"), 130, "skep: no route\n"},
		"done all the same":   {interrupted, nil, 0, ""},
	} {
		s, out, told := terminal(t)
		if code := s.exitCode(test.ctx, test.err); code != test.code || told.String() != test.told || out.Len() > 0 {
			t.Errorf("%s: exit code %d, stderr %q, stdout %q", name, code, told, out)
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, text := range []string{"rqlite:4001", "db0:8080", "", ":", "a:", ":1", "a:0", "a:65536", "a:b:1", "a:-1", "a:١", "a: 1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		service, port, err := target(text)
		var wrong usage.Error
		if err != nil {
			if !errors.As(err, &wrong) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if service == "" || strings.Contains(service, ":") || port < 1 || port > 65535 || !strings.HasPrefix(text, service+":") {
			t.Errorf("%q is %q, %d", text, service, port)
		}
	})
}

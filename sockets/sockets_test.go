package sockets

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skep/home"
)

// TestMain makes the test binary the background process, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "hold" {
		b := Background{Home: home.Dir{State: os.Args[2]}, Env: os.Args[3]}
		if err := b.Hold(context.Background(), echo, slog.New(slog.DiscardHandler)); err != nil {
			_, _ = io.WriteString(os.Stderr, err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// echo is a manager that says back what it hears.
func echo(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		_, _ = io.Copy(far, io.LimitReader(far, 5))
		_ = far.Close()
	}()
	return near, nil
}

// says sends five bytes to the socket and wants them back.
func says(t *testing.T, host string) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", strings.TrimPrefix(host, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if heard, err := io.ReadAll(conn); err != nil || string(heard) != "hello" {
		t.Errorf("%q, %v", heard, err)
	}
}

// private checks that nobody else may use the socket.
func private(t *testing.T, host string) {
	t.Helper()
	path := strings.TrimPrefix(host, "unix://")
	for file, most := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != most {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
}

func TestASocketForOneCommand(t *testing.T) {
	t.Setenv("TMPDIR", short(t))
	failure := errors.New("exit code 3")
	var host string
	err := With(t.Context(), echo, slog.New(slog.DiscardHandler), func(h string) error {
		host = h
		says(t, host)
		says(t, host)
		private(t, host)
		return failure
	})
	if !errors.Is(err, failure) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(strings.TrimPrefix(host, "unix://"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
}

func TestASocketInTheBackground(t *testing.T) {
	dir := short(t)
	b := Background{Home: home.Dir{State: dir}, Env: "dev", Command: []string{os.Args[0], "hold", dir}}
	if was, err := b.Close(t.Context()); was || err != nil {
		t.Errorf("closed what was not: %v", err)
	}
	t.Cleanup(func() { _, _ = b.Close(context.Background()) })
	for range 2 { // the second finds the first
		if err := b.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		says(t, b.Host())
	}
	private(t, b.Host())
	if err := b.Hold(t.Context(), echo, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another process holds") {
		t.Errorf("two hold it: %v", err)
	}
	if was, err := b.Close(t.Context()); !was || err != nil {
		t.Errorf("%t, %v", was, err)
	}
	if _, err := os.Stat(b.dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	// What was killed leaves files, and is followed by another.
	if err := b.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	says(t, b.Host())
}

func TestAProcessThatDoesNotComeUpTellsWhy(t *testing.T) {
	b := Background{Home: home.Dir{State: short(t)}, Env: "dev", Command: []string{"/bin/sh", "-c", "echo no way >&2; exit 4"}}
	if err := b.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "no way") {
		t.Error(err)
	}
}

// short is a folder whose path is short enough for a socket below it.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "skep")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

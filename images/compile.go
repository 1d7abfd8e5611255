package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"skep/usage"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func checkPort(text string) error {
	number, protocol, named := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 65535 || named && protocol != "tcp" && protocol != "udp" {
		return usage.Errorf("%q is not a port: use 1 to 65535, with /udp where it is no TCP port", text)
	}
	return nil
}

// command runs a tool in the source's folder and returns what it printed. A
// tool that fails leaves its own words in the error.
func (o Options) command(ctx context.Context, env []string, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...) // #nosec G204 -- go, gofmt and git
	c.Dir, c.Env = o.Source, append(os.Environ(), env...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if err == nil {
		return out.String(), nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%s is not installed here: https://go.dev/dl", name)
	}
	return out.String(), &toolError{name + " " + args[0], err, strings.TrimSpace(errs.String() + out.String())}
}

// toolError is a tool that did not succeed.
type toolError struct {
	tool  string
	err   error
	words string
}

func (e *toolError) Error() string {
	if e.words == "" {
		return e.tool + ": " + e.err.Error()
	}
	return e.tool + ": " + e.words
}

func (e *toolError) Unwrap() error { return e.err }

// gofmt tells which files are not formatted, or mends them where that was asked.
func (o Options) gofmt(ctx context.Context) error {
	args := []string{"-l"}
	if o.Format {
		args = append(args, "-w")
	}
	out, err := o.command(ctx, nil, "gofmt", append(args, ".")...)
	var failed *toolError
	if errors.As(err, &failed) {
		return nil // what does not parse does not compile, which says it better
	}
	if err != nil {
		return err
	}
	for file := range strings.Lines(out) {
		file = strings.TrimSpace(file)
		if o.Format {
			o.Log.Info("formatted " + file)
		} else {
			o.Log.Warn(file + " is not formatted: --fmt mends it")
		}
	}
	return nil
}

// vet tells what go vet finds in the program's own package. Where both want the
// processor the compiler goes first.
func (o Options) vet(ctx context.Context) error {
	command := []string{"go", "vet", "."}
	_, noNice := exec.LookPath("nice")
	_, noGo := exec.LookPath("go")
	if noNice == nil && noGo == nil {
		command = append([]string{"nice", "-n", "19"}, command...)
	}
	_, err := o.command(ctx, []string{"CGO_ENABLED=0"}, command[0], command[1:]...)
	var found *toolError
	if !errors.As(err, &found) {
		return err
	}
	for line := range strings.Lines(found.words) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			o.Log.Warn(line)
		}
	}
	return nil
}

// describe is the source's version, "" where git does not know one.
func (o Options) describe(ctx context.Context) string {
	// A folder of another user's is read all the same: nothing of it is run.
	out, err := o.command(ctx, nil, "git", "-c", "safe.directory=*", "describe", "--tags", "--always", "--dirty", "--abbrev=12")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// compile makes a static program for a platform.
func (o Options) compile(ctx context.Context, p v1.Platform, version, out string, what ...string) error {
	env := []string{"CGO_ENABLED=0", "GOOS=" + p.OS, "GOARCH=" + p.Architecture}
	if p.Architecture == "arm" && p.Variant != "" {
		env = append(env, "GOARM="+strings.TrimPrefix(p.Variant, "v"))
	}
	flags := "-s -w -buildid="
	if version != "" {
		flags += " -X main.version=" + version
	}
	// What git knows is stamped by the version: the go command would refuse
	// folders of another user's.
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", out}, what...)
	_, err := o.command(ctx, env, "go", args...)
	var failed *toolError
	if errors.As(err, &failed) {
		return fmt.Errorf("%s does not compile for %s: %s", o.name(), p, failed.words)
	}
	return err
}

// ProbeLabel is on every image the place of its probe: a program that asks a
// URL and fails where the answer is not one of success, for healthchecks in
// images that have no shell.
const ProbeLabel = "skep.probe"

const probePlace = "/.skep/probe"

//go:embed probe/main.go
var probeSource []byte

// probe is the file of the probe's program. It is compiled once and kept.
func (o Options) probe(ctx context.Context, p v1.Platform) (string, error) {
	sum := sha256.Sum256(append([]byte(runtime.Version()+p.String()), probeSource...))
	file := filepath.Join(o.Cache, "probe-"+hex.EncodeToString(sum[:12]))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	if err := os.MkdirAll(o.Cache, 0o700); err != nil {
		return "", fmt.Errorf("make a folder for the probe: %w", err)
	}
	dir, err := os.MkdirTemp(o.Work, "probe-")
	if err != nil {
		return "", err
	}
	source, made := filepath.Join(dir, "main.go"), filepath.Join(dir, "probe")
	if err := os.WriteFile(source, probeSource, 0o600); err != nil {
		return "", err
	}
	alone := o
	alone.Source = dir
	if err := alone.compile(ctx, p, "", made, source); err != nil {
		return "", err
	}
	// Whole or not at all, for another build may be making it, too.
	kept, err := os.CreateTemp(o.Cache, ".probe-*")
	if err != nil {
		return "", err
	}
	content, err := os.ReadFile(made)
	if err == nil {
		_, err = kept.Write(content)
	}
	if err = errors.Join(err, kept.Close()); err == nil {
		err = os.Rename(kept.Name(), file)
	}
	return file, err
}

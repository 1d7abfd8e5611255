package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"skep/usage"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const program = `package main

import "fmt"

var version = "none"

func main() { fmt.Println("version", version) }
`

// source is a module with a program in a git repository, and what to build it with.
func source(t *testing.T) (Options, *bytes.Buffer) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "greet")
	write(t, dir, "go.mod", "module greet\n\ngo 1.26\n")
	write(t, dir, "main.go", program)
	write(t, dir, "public/index.html", "hello\n")
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "begin"}, {"tag", "v1.2"}} {
		c := exec.CommandContext(t.Context(), "git", args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	log := &bytes.Buffer{}
	return Options{Source: dir, Work: t.TempDir(), Cache: t.TempDir(), Log: slog.New(slog.NewTextHandler(log, nil))}, log
}

func write(t *testing.T, dir, file, content string) {
	t.Helper()
	path := filepath.Join(dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func builtOf(t *testing.T, o Options) Built {
	t.Helper()
	b, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func digest(t *testing.T, b Built) string {
	t.Helper()
	d, err := b.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// files are those of an image, with their headers and contents.
func files(t *testing.T, image v1.Image) (map[string]*tar.Header, map[string]string) {
	t.Helper()
	r := mutate.Extract(image)
	defer func() { _ = r.Close() }()
	headers, contents := map[string]*tar.Header{}, map[string]string{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimSuffix(h.Name, "/")
		headers[path], contents[path] = h, string(text)
	}
}

func TestBuildMakesAnImageOfAProgram(t *testing.T) {
	o, _ := source(t)
	o.Env, o.Ports, o.Tree = []string{"GREETING=Hi"}, []string{"9090", "53/udp"}, "HEAD:public"
	o.Files = []string{filepath.Join(o.Source, "go.mod") + ":/etc/greet/go.mod", filepath.Join(o.Source, "public")}
	b := builtOf(t, o)
	image := b.Images[0]
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	_, tcp := c.ExposedPorts["9090/tcp"]
	_, udp := c.ExposedPorts["53/udp"]
	if !slices.Equal(c.Entrypoint, []string{"/greet"}) || c.User != "65532:65532" || !tcp || !udp || !slices.Contains(c.Env, "GREETING=Hi") || b.Version != "v1.2" {
		t.Errorf("version %q, %+v", b.Version, c)
	}
	headers, contents := files(t, image)
	for path, want := range map[string]string{"index.html": "hello\n", "public/index.html": "hello\n", "etc/greet/go.mod": "module greet\n\ngo 1.26\n", "etc/passwd": passwd} {
		if contents[path] != want {
			t.Errorf("%s is %q", path, contents[path])
		}
	}
	if !strings.Contains(contents["etc/ssl/certs/ca-certificates.crt"], "BEGIN CERTIFICATE") {
		t.Error("no certificates")
	}
	if h := headers["appdata"]; h == nil || h.Uid != userID {
		t.Errorf("appdata is %+v", h)
	}
	for path, h := range headers {
		if h.ModTime.Unix() != 0 || path == ".git" {
			t.Errorf("%s has time %s", path, h.ModTime)
		}
	}
	// It runs, and knows its version.
	file := filepath.Join(t.TempDir(), "greet")
	if err := os.WriteFile(file, []byte(contents["greet"]), 0o700); err != nil { // #nosec G306 -- a program
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), file).CombinedOutput(); err != nil || string(out) != "version v1.2\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTheSameSourceMakesTheSameDigest(t *testing.T) {
	o, _ := source(t)
	o.Tree = "HEAD:public"
	first := builtOf(t, o)
	again := o
	again.Work, again.Cache = t.TempDir(), t.TempDir() // nothing of the first is there
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))    // nor as many processors
	if a, b := digest(t, first), digest(t, builtOf(t, again)); a != b {
		t.Errorf("%s, then %s", a, b)
	}
	// In another folder, too: the paths of this computer are none of its business.
	moved := filepath.Join(t.TempDir(), "greet")
	if err := os.CopyFS(moved, os.DirFS(o.Source)); err != nil {
		t.Fatal(err)
	}
	again.Source = moved
	if a, b := digest(t, first), digest(t, builtOf(t, again)); a != b {
		t.Errorf("%s, and elsewhere %s", a, b)
	}
	write(t, moved, "main.go", strings.ReplaceAll(program, "version", "release"))
	if a, b := digest(t, first), digest(t, builtOf(t, again)); a == b {
		t.Error("another source has the same digest")
	}
}

func TestBuildLeavesTheSourceAlone(t *testing.T) {
	o, log := source(t)
	ugly := strings.ReplaceAll(program, "func main()", "func   main()")
	write(t, o.Source, "main.go", strings.ReplaceAll(ugly, `"version", version`, `"%d", version`))
	builtOf(t, o)
	if text := log.String(); !strings.Contains(text, "main.go is not formatted") || !strings.Contains(text, "possible Printf formatting directive") {
		t.Errorf("gofmt and vet found %s", text)
	}
	c := exec.CommandContext(t.Context(), "git", "status", "--porcelain")
	c.Dir = o.Source
	if out, err := c.Output(); err != nil || string(out) != " M main.go\n" {
		t.Errorf("%v: %s", err, out)
	}
	o.Format = true
	builtOf(t, o)
	if text, err := os.ReadFile(filepath.Join(o.Source, "main.go")); err != nil || strings.Contains(string(text), "func   main") {
		t.Errorf("not formatted: %v", err)
	}
}

func TestBuildRefusesWhatItCannotBuild(t *testing.T) {
	o, _ := source(t)
	for what, change := range map[string]func(*Options){
		"a variable":  func(o *Options) { o.Env = []string{"GREETING"} },
		"a port":      func(o *Options) { o.Ports = []string{"0"} },
		"a protocol":  func(o *Options) { o.Ports = []string{"80/sctp"} },
		"a platform":  func(o *Options) { o.Platforms = []string{"amd64"} },
		"a system":    func(o *Options) { o.Platforms = []string{"windows/amd64"} },
		"a no-file":   func(o *Options) { o.Files = []string{":/x"} },
		"no platform": func(o *Options) { o.Platforms = []string{""} },
	} {
		wrong := o
		change(&wrong)
		_, err := Build(t.Context(), wrong)
		var misuse usage.Error
		if !errors.As(err, &misuse) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, change := range map[string]func(*Options){
		"there is no folder":   func(o *Options) { o.Source = filepath.Join(o.Source, "nowhere") },
		"has no Go program":    func(o *Options) { o.Source = filepath.Join(o.Source, "public") },
		"cannot be called etc": func(o *Options) { write(t, o.Source, "etc/main.go", program); o.Source += "/etc" },
		"is package greeting":  func(o *Options) { write(t, o.Source, "lib/lib.go", "package greeting\n"); o.Source += "/lib" },
		"git has no tree":      func(o *Options) { o.Tree = "HEAD:nowhere" },
		"there is no file":     func(o *Options) { o.Files = []string{"/nowhere"} },
		"does not compile": func(o *Options) {
			write(t, o.Source, "bad/main.go", "package main\nfunc main() { x }\n")
			o.Source += "/bad"
		},
	} {
		wrong := o
		change(&wrong)
		if _, err := Build(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Folders that the program finds in its image are its own, whatever is put there.
func TestFilesLeaveTheFoldersOfTheImageAsTheyAre(t *testing.T) {
	o, _ := source(t)
	write(t, o.Source, "data/seed", "seed")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(o.Source, "data"), link); err != nil {
		t.Fatal(err)
	}
	seed := filepath.Join(o.Source, "data", "seed")
	o.Files = []string{seed + ":/appdata/seed", seed + ":/tmp/seed", seed + ":/etc/", link + ":/linked"}
	headers, contents := files(t, builtOf(t, o).Images[0])
	if data, tmp := headers["appdata"], headers["tmp"]; data.Uid != userID || data.Mode != 0o755 || tmp.Mode != 0o1777 {
		t.Errorf("%+v, %+v", data, tmp)
	}
	for _, file := range []string{"appdata/seed", "tmp/seed", "etc/seed", "linked/seed"} {
		if contents[file] != "seed" {
			t.Errorf("%s has %q", file, contents[file])
		}
	}
	if headers["etc/passwd"] == nil {
		t.Error("no passwd")
	}
}

func TestVetLooksAtWhatIsBuilt(t *testing.T) {
	o, log := source(t)
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	write(t, o.Source, "other_"+other+".go", "package main\n\nimport \"fmt\"\n\nfunc init() { fmt.Printf(\"%d\", \"no number\") }\n")
	o.Platforms = []string{"linux/" + other}
	builtOf(t, o)
	if !strings.Contains(log.String(), "other_"+other+".go") {
		t.Errorf("vet said %s", log)
	}
}

// What the go command passes by is not the program's, and is left alone.
func TestFormatIsThatOfTheModule(t *testing.T) {
	o, log := source(t)
	const ugly = "package x\nfunc  f() { }\n"
	for _, file := range []string{"lib/lib.go", "lib/testdata/x.go", "vendor/x/x.go", "other/x.go", ".hidden/x.go"} {
		write(t, o.Source, file, ugly)
	}
	write(t, o.Source, "other/go.mod", "module other\n")
	write(t, o.Source, "testdata/broken.go", "no go")
	if err := o.gofmt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text := log.String(); strings.Count(text, "not formatted") != 1 || !strings.Contains(text, filepath.Join("lib", "lib.go")) {
		t.Errorf("it said %s", text)
	}
	log.Reset()
	write(t, o.Source, "broken.go", "no go")
	if err := o.gofmt(t.Context()); err != nil || !strings.Contains(log.String(), "lib.go") {
		t.Errorf("beside a file that does not parse: %v, %s", err, log)
	}
}

func TestPushToARegistry(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	o, _ := source(t)
	o.Platforms = []string{"linux/amd64", "linux/arm64"}
	b := builtOf(t, o)
	pushed, err := Push(t.Context(), host+"/greet:1", b)
	if err != nil {
		t.Fatal(err)
	}
	if pushed != host+"/greet@"+digest(t, b) {
		t.Error(pushed)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		ref, err := name.ParseReference(host + "/greet:1")
		if err != nil {
			t.Fatal(err)
		}
		image, err := remote.Image(ref, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		if err != nil {
			t.Fatal(err)
		}
		if config, err := image.ConfigFile(); err != nil || config.Architecture != arch {
			t.Errorf("%s: %v, %+v", arch, err, config)
		}
	}
	// What was pushed is a base for another.
	o.Base, o.Platforms = host+"/greet:1", []string{"linux/arm64"}
	if headers, _ := files(t, builtOf(t, o).Images[0]); headers["etc/passwd"] == nil {
		t.Error("the base is not in it")
	}
	o.Base = host + "/nowhere:1"
	if _, err := Build(t.Context(), o); err == nil {
		t.Error("a base that is nowhere")
	}
	server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Push(ctx, host+"/greet:1", b); err == nil {
		t.Error("pushed to nowhere")
	}
}

func TestCheckName(t *testing.T) {
	for image, ok := range map[string]bool{
		"hello": true, "hello:0.1": true, "registry.example.com:5000/team/hello:0.1": true,
		"": false, "Hello": false, "hello:": false, "hello:a b": false, "hello@sha256:" + strings.Repeat("a", 64): false,
	} {
		if err := CheckName(image); (err == nil) != ok {
			t.Errorf("%q: %v", image, err)
		}
	}
}

// The probe is compiled as it is for an image, and asks a real server.
func TestTheProbeTellsWhetherAServerServes(t *testing.T) {
	o, _ := source(t)
	probe, err := o.probe(t.Context(), v1.Platform{OS: "linux", Architecture: runtime.GOARCH})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(probe, 0o700); err != nil { // #nosec G302 -- a program
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" || r.Host == "" {
			http.Error(w, "not here", http.StatusNotFound)
		}
	}))
	defer server.Close()
	for url, ok := range map[string]bool{
		server.URL + "/healthz": true, server.URL + "/": false, server.URL: false, "https://127.0.0.1/": false, "http://127.0.0.1:1/healthz": false, "": false,
	} {
		if out, err := exec.CommandContext(t.Context(), probe, url).CombinedOutput(); (err == nil) != ok || ok == (len(out) > 0) {
			t.Errorf("%q: %v: %s", url, err, out)
		}
	}
}

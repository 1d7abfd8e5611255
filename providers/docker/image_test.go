package docker

import (
	"archive/tar"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/image"
)

// unpack reads an archive into memory.
func unpack(t *testing.T, archive io.Reader) (files map[string]string, headers map[string]*tar.Header) {
	t.Helper()
	files, headers = map[string]string{}, map[string]*tar.Header{}
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name], headers[h.Name] = string(content), h
	}
}

var copyLine = regexp.MustCompile(`(?m)^COPY (\S+) (\S+)$`)

func TestBuildContextHasWhatTheDockerfileCopies(t *testing.T) {
	archive, err := buildContext()
	if err != nil {
		t.Fatal(err)
	}
	files, _ := unpack(t, archive)
	copies := copyLine.FindAllStringSubmatch(files["Dockerfile"], -1)
	if len(copies) == 0 || len(copies) != strings.Count(files["Dockerfile"], "COPY ") {
		t.Fatalf("the Dockerfile copies %q", copies)
	}
	for _, c := range copies {
		onDisk, err := os.ReadFile(filepath.Join("node", c[1]))
		if err != nil || files[c[1]] != string(onDisk) || len(onDisk) == 0 {
			t.Errorf("%s is not in it as it is on disk: %v", c[1], err)
		}
	}
}

// Two recipes, one contract.
func TestBothRecipesPutTheSameFilesInTheSamePlaces(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("node", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	dockerfile, debian := read("Dockerfile"), read("debian.sh")
	for _, c := range copyLine.FindAllStringSubmatch(dockerfile, -1) {
		if !strings.Contains(debian, `"$here/`+c[1]+`" "$root`+c[2]+`"`) {
			t.Errorf("debian.sh does not put %s at %s", c[1], c[2])
		}
	}
	entrypoint := regexp.MustCompile(`ENTRYPOINT \[.*\]`).FindString(dockerfile)
	for _, line := range []string{entrypoint, "VOLUME /var/lib/docker", "EXPOSE 22"} {
		if line == "" || !strings.Contains(dockerfile, line) || !strings.Contains(debian, line) {
			t.Errorf("not in both: %q", line)
		}
	}
}

func TestDrain(t *testing.T) {
	for name, test := range map[string]struct{ stream, want string }{
		"nothing":             {"", ""},
		"progress":            {`{"stream":"Step 1/8"}` + "\n" + `{"status":"Pulling","progressDetail":{"current":1,"total":2},"id":"a"}` + "\n", ""},
		"an error":            {`{"stream":"Step 1/8"}` + `{"errorDetail":{"message":"no such image"},"error":"no such image"}` + `{"stream":"after"}`, "no such image"},
		"an end before time":  {`{"stream":"Step 1/8"}` + `{"stre`, "unexpected EOF"},
		"what is no progress": {"<html>502 Bad Gateway</html>", "invalid character"},
	} {
		err := drain(strings.NewReader(test.stream))
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := errors.New("connection reset")
	if err := drain(io.MultiReader(strings.NewReader(`{"stream":"x"}`), &failing{broken})); !errors.Is(err, broken) {
		t.Errorf("a connection that broke: %v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestEnsureImage(t *testing.T) {
	missing := refuse(http.StatusNotFound, "No such image")
	stream := func(lines string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, lines) }
	}
	for name, test := range map[string]struct {
		named    string
		handlers map[string]http.HandlerFunc
		words    []string // of the error, none for success
	}{
		"skep's own is there": {"", map[string]http.HandlerFunc{"GET /images/skep-node:0.1.0/json": answer(image.InspectResponse{ID: "sha256:1"})}, nil},
		"skep's own is built": {"", map[string]http.HandlerFunc{
			"GET /images/skep-node:0.1.0/json": missing,
			"POST /build": func(w http.ResponseWriter, r *http.Request) {
				files, _ := unpack(t, r.Body)
				if files["Dockerfile"] == "" || r.URL.Query().Get("t") != "skep-node:0.1.0" {
					t.Errorf("builds %s of %d files", r.URL.Query().Get("t"), len(files))
				}
				stream(`{"stream":"Successfully built"}`)(w, r)
			},
		}, nil},
		"skep's own cannot be built": {"", map[string]http.HandlerFunc{
			"GET /images/skep-node:0.1.0/json": missing,
			"POST /build":                      stream(`{"error":"no route to registry","errorDetail":{"message":"no route to registry\nat all"}}`),
		}, []string{"skep-node:0.1.0", "no route to registry", "debian.sh"}},
		"another's is pulled": {"node:1", map[string]http.HandlerFunc{
			"GET /images/node:1/json": missing,
			"POST /images/create":     stream(`{"status":"Pulling"}`),
		}, nil},
		"another's is nowhere": {"nowhere:1", map[string]http.HandlerFunc{
			"GET /images/nowhere:1/json": missing,
			"POST /images/create":        refuse(http.StatusNotFound, "pull access denied for nowhere"),
		}, []string{"nowhere:1", "pull access denied"}},
		"another's breaks off": {"node:1", map[string]http.HandlerFunc{
			"GET /images/node:1/json": missing,
			"POST /images/create":     stream(`{"error":"toomanyrequests","errorDetail":{"message":"toomanyrequests"}}`),
		}, []string{"node:1", "toomanyrequests"}},
		"the engine is broken": {"", map[string]http.HandlerFunc{"GET /images/skep-node:0.1.0/json": refuse(http.StatusInternalServerError, "layer db locked")}, []string{"layer db locked"}},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := startEngine(t, test.handlers)
			if err := d.ensureImage(t.Context(), test.named); len(test.words) == 0 {
				if err != nil {
					t.Error(err)
				}
			} else {
				oneLine(t, err, test.words...)
			}
		})
	}
}

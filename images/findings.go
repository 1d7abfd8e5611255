package images

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// gofmt tells which files of the program's module are not formatted, or mends
// them where that was asked.
func (o Options) gofmt(ctx context.Context) error {
	args := []string{"-l"}
	if o.Format {
		args = append(args, "-w")
	}
	files, err := o.sources()
	if err != nil {
		return err
	}
	out, err := o.command(ctx, nil, "gofmt", append(args, files...)...)
	// What does not parse does not compile, which says it better.
	var failed *toolError
	if err != nil && !errors.As(err, &failed) {
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

// sources are the Go files at and below the source's folder that belong to its
// module, which neither other modules nor what the go command passes by do.
func (o Options) sources() ([]string, error) {
	var files []string
	err := filepath.WalkDir(o.Source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if !entry.IsDir() {
			if strings.HasSuffix(name, ".go") && entry.Type().IsRegular() {
				files = append(files, strings.TrimPrefix(path, o.Source+string(filepath.Separator)))
			}
			return nil
		}
		if path == o.Source {
			return nil
		}
		_, err = os.Stat(filepath.Join(path, "go.mod"))
		if err == nil || name == "vendor" || name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
			return fs.SkipDir
		}
		return nil
	})
	return files, err
}

// vet tells what go vet finds in the program's own package. Where both want the
// processor the compiler goes first, and vet does without collecting garbage as
// long as it is small.
func (o Options) vet(ctx context.Context, p v1.Platform) error {
	command := []string{"go", "vet", "."}
	_, noNice := exec.LookPath("nice")
	_, noGo := exec.LookPath("go")
	if noNice == nil && noGo == nil {
		command = append([]string{"nice", "-n", "19"}, command...)
	}
	_, err := o.command(ctx, append(goEnv(p), "GOGC=off", "GOMEMLIMIT=512MiB"), command[0], command[1:]...)
	var found *toolError
	if !errors.As(err, &found) {
		return err
	}
	for line := range strings.Lines(found.words) {
		// What begins with vet: does not compile, which says it better.
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "vet: ") {
			o.Log.Warn(line)
		}
	}
	return nil
}

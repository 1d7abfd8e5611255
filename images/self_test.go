package images

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// program writes as much of a Linux program as its header.
func writeProgram(t *testing.T, machine elf.Machine, segments ...elf.ProgType) string {
	t.Helper()
	head := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(len(segments))} // #nosec G115 -- few
	copy(head.Ident[:], elf.ELFMAG)
	head.Ident[elf.EI_CLASS], head.Ident[elf.EI_DATA], head.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	var text bytes.Buffer
	_ = binary.Write(&text, binary.LittleEndian, head)
	for _, s := range segments {
		_ = binary.Write(&text, binary.LittleEndian, elf.Prog64{Type: uint32(s)}) // #nosec G115 -- a small number
	}
	path := filepath.Join(t.TempDir(), "skep")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSelfIsTheProgramAndNothingElse(t *testing.T) {
	file := writeProgram(t, elf.EM_AARCH64, elf.PT_LOAD)
	p, err := Self(file)
	if err != nil || p.Platform.Architecture != "arm64" {
		t.Fatalf("%+v, %v", p, err)
	}
	var saved bytes.Buffer
	if err := p.WriteTo(&saved, 0); err != nil {
		t.Fatal(err)
	}
	if size, err := p.Size(0); err != nil || size != int64(saved.Len()) {
		t.Errorf("%d bytes, said were %d, %v", saved.Len(), size, err)
	}
	files := untar(t, saved.Bytes())
	var manifest []struct{ Config, Layers any }
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) != 1 {
		t.Fatalf("manifest %s: %v", files["manifest.json"], err)
	}
	config, layer := files[manifest[0].Config.(string)], files[manifest[0].Layers.([]any)[0].(string)]
	if id := hashOf(config).String(); id != p.IDs()[0] {
		t.Errorf("the configuration is %s, and the image %s", id, p.IDs()[0])
	}
	for _, want := range []string{`"` + hashOf(layer).String() + `"`, `"architecture":"arm64"`, `"os":"linux"`, `"Entrypoint":["/skep"]`} {
		if !strings.Contains(string(config), want) {
			t.Errorf("no %s in %s", want, config)
		}
	}
	inside := untar(t, layer)
	program, err := os.ReadFile(file)
	if err != nil || len(inside) != 3 || !bytes.Equal(inside["skep"], program) {
		t.Errorf("the layer has %d files: %v", len(inside), err)
	}
	again, err := Self(file)
	if err != nil || again.IDs()[0] != p.IDs()[0] {
		t.Errorf("made again it is %s, was %s: %v", again.IDs(), p.IDs(), err)
	}
}

func untar(t *testing.T, text []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSelfRefusesWhatNodesCannotRun(t *testing.T) {
	script := filepath.Join(t.TempDir(), "skep.exe")
	if err := os.WriteFile(script, []byte("MZ and so on, for another system"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		script: "not built for Linux",
		writeProgram(t, elf.EM_X86_64, elf.PT_LOAD, elf.PT_INTERP): "CGO_ENABLED=0",
		writeProgram(t, elf.EM_68K):                                "EM_68K",
	} {
		if _, err := Self(file); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := Self(script + "-gone"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

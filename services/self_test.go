package services

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSkepsOwnImageIsWhatAnEngineTakes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte("content of the program"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := packSelf(file, "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	again, err := packSelf(file, "x86_64")
	if err != nil || again.id != p.id {
		t.Errorf("%s, then %s, %v", p.id, again.id, err)
	}
	var archive bytes.Buffer
	if err := p.archive(&archive); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(&archive); ; {
		header, err := r.Next()
		if err == io.EOF { //nolint:errorlint // as tar says
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	var manifest []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) != 1 || len(manifest[0].Layers) != 1 {
		t.Fatalf("%v: %s", err, files["manifest.json"])
	}
	config, layer := files[manifest[0].Config], files[manifest[0].Layers[0]]
	if got := digestOf(config); got != p.id {
		t.Errorf("the configuration is %s, not %s", got, p.id)
	}
	if !strings.Contains(string(config), digestOf(layer)) || !bytes.Contains(layer, []byte("content of the program")) {
		t.Errorf("layer %s is not that of %s", digestOf(layer), config)
	}
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestProgramsThatNodesCannotRun(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := runsOn(self, "vax"); err == nil || !strings.Contains(err.Error(), "it is for") {
		t.Errorf("another machine: %v", err)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := runsOn(script, "x86_64"); err == nil || !strings.Contains(err.Error(), "no program for linux") {
		t.Errorf("a script: %v", err)
	}
}

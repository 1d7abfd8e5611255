package droplets

import (
	"slices"
	"testing"
)

const (
	config = "#cloud-config\npackages:\n  - docker.io\nssh_authorized_keys:\n  - ssh-ed25519 AAAA skep\n"
	script = "#!/bin/sh\ntouch /mine\n"
)

func TestReadUserData(t *testing.T) {
	archive := "Content-Type: multipart/mixed; boundary=\"==x==\"\r\nMIME-Version: 1.0\r\n\r\n" +
		"--==x==\r\nContent-Type: text/x-shellscript\r\n\r\n" + script +
		"\r\n--==x==\r\nContent-Type: text/cloud-config\r\n\r\n" + config + "\r\n--==x==--\r\n"
	for data, want := range map[string]firstBoot{
		"":      {},
		script:  {scripts: []string{script}},
		config:  {packages: []string{"docker.io"}, keys: []string{"ssh-ed25519 AAAA skep"}},
		archive: {packages: []string{"docker.io"}, keys: []string{"ssh-ed25519 AAAA skep"}, scripts: []string{script}},
	} {
		got, err := readUserData(data)
		if err != nil {
			t.Errorf("%.20q: %v", data, err)
		}
		if !slices.Equal(got.packages, want.packages) || !slices.Equal(got.keys, want.keys) || !slices.Equal(got.scripts, want.scripts) {
			t.Errorf("%.20q: %+v", data, got)
		}
	}
	for _, data := range []string{"install docker", "Content-Type: text/plain\r\n\r\nhello", "#cloud-config\n\t- x"} {
		if got, err := readUserData(data); err == nil {
			t.Errorf("%q is %+v", data, got)
		}
	}
}

package digitalocean

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/textproto"
	"strings"

	"skep/usage"
)

// mostUserdata is what the API takes, in bytes.
const mostUserdata = 64 << 10

// cloudConfig is the first boot: Docker from the distribution's own packages,
// waiting for whoever else installs some, and the key. Everybody on the droplet
// can read it, so nothing in it is secret. Where it follows the user's own, it
// adds to it.
const cloudConfig = `#cloud-config
merge_how:
  - {name: list, settings: [append]}
  - {name: dict, settings: [no_replace, recurse_list]}
ssh_authorized_keys:
  - %s
apt:
  conf: |
    DPkg::Lock::Timeout "300";
    Acquire::Retries "5";
package_update: true
packages:
  - docker.io
runcmd:
  - [systemctl, enable, --now, docker.service]
`

// userData is what a droplet does at its first boot, after what the user wants
// of it.
func userData(public, users string) (string, error) {
	ours := fmt.Sprintf(cloudConfig, strings.TrimSpace(public))
	data := ours
	if users != "" {
		var err error
		if data, err = inParts(users, ours); err != nil {
			return "", err
		}
	}
	if len(data) > mostUserdata {
		return "", usage.Errorf("DIGITALOCEAN_USERDATA is too long: the API takes %d bytes with skep's own", mostUserdata)
	}
	return data, nil
}

// inParts is the MIME archive that cloud-init takes for more than one.
func inParts(parts ...string) (string, error) {
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	if err := w.SetBoundary("==skep=="); err != nil {
		return "", err
	}
	_, _ = fmt.Fprintf(&out, "Content-Type: multipart/mixed; boundary=%q\r\nMIME-Version: 1.0\r\n\r\n", w.Boundary())
	for _, part := range parts {
		body, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {kind(part) + `; charset="utf-8"`}})
		if err != nil {
			return "", err
		}
		if _, err := body.Write([]byte(part)); err != nil {
			return "", err
		}
	}
	err := w.Close()
	return out.String(), err
}

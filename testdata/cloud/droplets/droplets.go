// Package droplets makes the droplets of the test cloud real: hosts that carry
// out what their user data says at their first boot.
//
// It joins packages api and hosts, which know nothing of each other.
package droplets

import (
	"context"
	"fmt"
	"strings"

	"skep/testdata/cloud/api"
	"skep/testdata/cloud/hosts"
)

// Hosts implements api.Hosts.
type Hosts struct{ *hosts.Maker }

// Make boots a host that has cloud-init's ways.
func (h Hosts) Make(ctx context.Context, d api.Boot) (string, error) {
	first, err := readUserData(d.UserData)
	if err != nil {
		return "", err
	}
	files := map[string]string{
		"/usr/bin/cloud-init":      cloudInit,
		"/var/lib/cloud/firstboot": first.script(),
		"/var/lib/cloud/user-data": d.UserData,
	}
	for i, script := range first.scripts {
		files[fmt.Sprintf("/var/lib/cloud/scripts/%d", i)] = script
	}
	return h.Maker.Make(ctx, hosts.Host{
		Name: d.Name, ID: d.ID, PublicKey: d.Keys, Files: files, Late: d.Late, Beside: "/var/lib/cloud/firstboot",
	})
}

// cloudInit knows the one question that is asked of it.
const cloudInit = `#!/bin/sh
while [ "$2" = --wait ] && [ ! -e /var/lib/cloud/result ]; do sleep 0.1; done
if [ ! -e /var/lib/cloud/result ]; then
	echo "status: running"
	exit 0
fi
cat /var/lib/cloud/result
grep -q "status: done" /var/lib/cloud/result
`

// script is the first boot. Packages are those of the image: one that would have
// to be fetched fails it.
func (f firstBoot) script() string {
	var s strings.Builder
	s.WriteString(`#!/bin/sh
[ -e /var/lib/cloud/result ] && exit
end() {
	echo "status: $*" >/var/lib/cloud/new
	mv /var/lib/cloud/new /var/lib/cloud/result
	exit
}
sleep 1
`)
	for _, p := range f.packages {
		fmt.Fprintf(&s, "dpkg -s %s >/dev/null 2>&1 || end 'error, no package %s'\n", quote(p), p)
	}
	for _, k := range f.keys {
		fmt.Fprintf(&s, "grep -qF %s /root/.ssh/authorized_keys || echo %s >>/root/.ssh/authorized_keys\n", quote(k), quote(k))
	}
	for i := range f.scripts {
		fmt.Fprintf(&s, "/var/lib/cloud/scripts/%d || end 'error, a script failed'\n", i)
	}
	s.WriteString("end done\n")
	return s.String()
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

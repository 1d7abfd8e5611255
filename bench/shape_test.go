//go:build linux

package main

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestFlagsAreThoseOfTheNode(t *testing.T) {
	for _, c := range []struct {
		name, inspected string
		want            []string
	}{
		{"privileged", `{"HostConfig": {"Privileged": true, "SecurityOpt": ["label=disable"], "MaskedPaths": null,
			"Binds": ["/lib/modules:/lib/modules:ro"], "RestartPolicy": {"Name": "unless-stopped"}, "CgroupnsMode": "private",
			"Tmpfs": {"/run": "mode=755"}, "PortBindings": {"22/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}}}`,
			[]string{
				"--privileged", "--volume=/lib/modules:/lib/modules:ro", "--restart=unless-stopped", "--cgroupns=private",
				"--tmpfs=/run:mode=755", "--publish=127.0.0.1::22/tcp",
			}},
		{"all capabilities but one", `{"HostConfig": {"CapAdd": ["ALL"], "CapDrop": ["SYS_RESOURCE"],
			"SecurityOpt": ["seccomp=unconfined"], "MaskedPaths": [], "DeviceCgroupRules": ["a *:* rwm"],
			"RestartPolicy": {"Name": "no"}}}`,
			[]string{
				"--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined", "--cap-add=ALL",
				"--cap-drop=SYS_RESOURCE", "--device-cgroup-rule=a *:* rwm", "--restart=no",
			}},
	} {
		var n node
		if err := json.Unmarshal([]byte(c.inspected), &n); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := n.flags(); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

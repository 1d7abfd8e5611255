package services

import (
	"errors"
	"strings"
	"testing"

	"skep/usage"

	api "github.com/docker/docker/api/types/swarm"
)

func TestAppOptionsCheck(t *testing.T) {
	for name, test := range map[string]struct {
		o  AppOptions
		ok bool
	}{
		"a name alone":               {AppOptions{Name: "hello"}, true},
		"everything":                 {AppOptions{Name: "hello", Env: []string{"A=1", "B="}, Publish: []Port{{Published: 1, Target: 1}, {Published: 80, Target: 9090}, {Published: 65535, Target: 65535}}, Replicas: 6}, true},
		"a name of one letter":       {AppOptions{Name: "a"}, true},
		"a name with - and digits":   {AppOptions{Name: "web-2"}, true},
		"a name of 63":               {AppOptions{Name: strings.Repeat("a", 63)}, true},
		"a value with =":             {AppOptions{Name: "hello", Env: []string{"OPTS=-x=1"}}, true},
		"no replicas":                {AppOptions{Name: "hello", Replicas: 0}, true},
		"no name":                    {AppOptions{}, false},
		"a name of 64":               {AppOptions{Name: strings.Repeat("a", 64)}, false},
		"a name with a capital":      {AppOptions{Name: "Hello"}, false},
		"a name with _":              {AppOptions{Name: "hello_2"}, false},
		"a name with a dot":          {AppOptions{Name: "hello.example"}, false},
		"a name with a slash":        {AppOptions{Name: "../hello"}, false},
		"a name with a line end":     {AppOptions{Name: "hello\n"}, false},
		"a name that begins with -":  {AppOptions{Name: "-hello"}, false},
		"a name that ends with -":    {AppOptions{Name: "hello-"}, false},
		"a name that begins with 2":  {AppOptions{Name: "2hello"}, false},
		"fewer than no replicas":     {AppOptions{Name: "hello", Replicas: -1}, false},
		"a variable without =":       {AppOptions{Name: "hello", Env: []string{"A=1", "GREETING"}}, false},
		"a variable without a name":  {AppOptions{Name: "hello", Env: []string{"=1"}}, false},
		"an empty variable":          {AppOptions{Name: "hello", Env: []string{""}}, false},
		"port 0":                     {AppOptions{Name: "hello", Publish: []Port{{}}}, false},
		"a port below 0":             {AppOptions{Name: "hello", Publish: []Port{{Published: 80, Target: -1}}}, false},
		"a port beyond the last":     {AppOptions{Name: "hello", Publish: []Port{{Published: 65536, Target: 80}}}, false},
		"a port twice":               {AppOptions{Name: "hello", Publish: []Port{{Published: 80, Target: 1}, {Published: 80, Target: 2}}}, false},
		"a port for both protocols":  {AppOptions{Name: "hello", Publish: []Port{{Published: 80, Target: 1}, {Published: 80, Target: 1, Protocol: "udp"}}}, true},
		"two mounts in a place":      {AppOptions{Name: "hello", Mounts: []Mount{{Source: "a", Target: "/a"}, {Source: "b", Target: "/a"}}}, false},
		"a port that wraps to a one": {AppOptions{Name: "hello", Publish: []Port{{Published: 1<<32 + 80, Target: 80}}}, false},
	} {
		err := test.o.Check()
		var wrong usage.Error
		if test.ok && err != nil || !test.ok && !errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %q", name, err)
		}
	}
}

// A node has each port of its own once, whatever its kernel can balance.
func TestTheOldTaskGoesFirstWhereEveryNodeHasOne(t *testing.T) {
	for name, test := range map[string]struct {
		ground   Ground
		replicas int
		order    string
	}{
		"through the ingress":                {Ground{IPVS: true, Nodes: 3}, 3, api.UpdateOrderStartFirst},
		"a port of the node's, and to spare": {Ground{IPVS: true, HostPorts: true, Nodes: 3}, 2, api.UpdateOrderStartFirst},
		"a port of the node's, on each":      {Ground{IPVS: true, HostPorts: true, Nodes: 3}, 3, api.UpdateOrderStopFirst},
		"without IPVS":                       {Ground{HostPorts: true, Nodes: 3}, 3, api.UpdateOrderStopFirst},
	} {
		o := AppOptions{Publish: []Port{{Published: 80, Target: 80}}, Replicas: test.replicas}
		if got := o.order(test.ground); got != test.order {
			t.Errorf("%s: %s", name, got)
		}
	}
}

package services

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
)

var update = flag.Bool("update", false, "write the golden files anew")

// stacks are one of each kind; each has a golden file of its name.
func stacks() map[string]Stack {
	app := AppOptions{Name: "hello", Image: "hello:0.1", Replicas: 6}
	full := app
	full.Env, full.Network, full.Publish = []string{"GREETING=Hi", "EMPTY="}, "dbnet", []Port{{Published: 80, Target: 9090}, {Published: 53, Target: 53, Protocol: "udp"}}
	full.Mounts = []Mount{{Source: "uploads", Target: "/uploads"}, {Source: "/etc/ssl", Target: "/etc/ssl", ReadOnly: true}}
	full.Secrets, full.Memory = []Secret{{"token", "token"}}, 256<<20
	full.Health = []string{"CMD-SHELL", "true"}
	full.Placement = Placement{Spread: []string{"node.labels.skep.region"}, Constraints: []string{"node.role==worker"}}
	few := full
	few.Replicas = 2
	return map[string]Stack{
		"rethink-1":           Rethink(RethinkLayout{Image: RethinkImage, Joiners: 1, Password: "rethink-password"}),
		"rethink-3":           Rethink(RethinkLayout{Image: RethinkImage, Joiners: 3, CacheMB: 512, Password: "rethink-password-2"}),
		"rethink-tls":         Rethink(RethinkLayout{Image: RethinkImage, Joiners: 1, Password: "rethink-password", TLS: RethinkTLS{CA: "rethink-ca", Cert: "rethink-cert", Key: "rethink-key"}}),
		"app":                 App(app, Ground{IPVS: true, Nodes: 3}),
		"app-no-ipvs":         App(app, Ground{HostPorts: true, Nodes: 3}),
		"app-publish":         App(full, Ground{IPVS: true, Nodes: 3}),
		"app-publish-no-ipvs": App(full, Ground{HostPorts: true, Nodes: 3}),
		"app-publish-few":     App(few, Ground{HostPorts: true, Nodes: 3}),
		"rqlite-3":            Rqlite(RqliteCluster{Image: RqliteImage, Mode: RqliteDNS, Voters: 3, Expect: 3}),
		"rqlite-named":        Rqlite(RqliteCluster{Name: "orders", Image: RqliteImage, Mode: RqliteDNS, Voters: 5, Expect: 3, Readers: true}),
		"rqlite-bootstrap":    Rqlite(RqliteCluster{Image: RqliteImage, Mode: RqliteBootstrap, Voters: 5, Expect: 3, Readers: true}),
		"rqlite-dns-srv":      Rqlite(RqliteCluster{Image: RqliteImage, Mode: RqliteDNSSRV, Voters: 3, Expect: 3}),
		"rqlite-etcd":         Rqlite(RqliteCluster{Image: RqliteImage, Mode: RqliteEtcd, Voters: 3, Expect: 3, Key: "rqlite-abcd"}),
		"rqlite-consul":       Rqlite(RqliteCluster{Image: RqliteImage, Mode: RqliteConsul, Voters: 3, Expect: 3, Key: "rqlite-abcd", Consul: "https://10.0.0.5:8501"}),
		"rqlite-service":      Rqlite(RqliteCluster{Image: RqliteServiceImage, Mode: RqliteService, Voters: 3, Expect: 3, Key: "6ba7b810-9dad-41d1-80b4-00c04fd430c8"}),
		"crate":               Crate(CrateImage, []string{"dev-manager-1", "dev-worker-1", "dev-worker-2"}, 4),
		"etcd":                Etcd(EtcdImage, 3),
		"consul":              Consul(ConsulImage),
		"discovery":           Discovery(),
	}
}

func TestStacksAreAsTheirGoldenFilesSay(t *testing.T) {
	for name, stack := range stacks() {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(stack, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("%s differs at %s; go test ./services -update writes it anew", file, firstDifference(string(got), string(want)))
			}
		})
	}
}

func TestEveryGoldenFileHasAStack(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, ok := stacks()[strings.TrimSuffix(filepath.Base(file), ".json")]; !ok {
			t.Errorf("%s is of no use any more", file)
		}
	}
}

func firstDifference(got, want string) string {
	gots, wants := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(gots), len(wants)) {
		if gots[i] != wants[i] {
			return "\n\t" + around(gots[i], wants[i]) + "\nnot\n\t" + around(wants[i], gots[i])
		}
	}
	return "its end"
}

// around is what a line has where it begins to differ: scripts are one line.
func around(line, other string) string {
	n := 0
	for n < min(len(line), len(other)) && line[n] == other[n] {
		n++
	}
	return line[max(0, n-60):min(len(line), n+60)]
}

// What the golden files would let slip once somebody writes them anew.
func TestDatabases(t *testing.T) {
	for name, stack := range stacks() {
		if strings.HasPrefix(name, "app") {
			continue
		}
		for _, s := range stack.Services {
			if s.Labels[swarm.LabelAnchor] != "" {
				continue // it is no server
			}
			c := s.TaskTemplate.ContainerSpec
			if len(s.EndpointSpec.Ports) > 0 {
				t.Errorf("%s publishes %s, whose admin port has no password", s.Name, name)
			}
			if s.EndpointSpec.Mode != api.ResolutionModeDNSRR {
				t.Errorf("%s: members need each other's own addresses, not %s", s.Name, s.EndpointSpec.Mode)
			}
			if c.Healthcheck != nil {
				t.Errorf("%s: swarm gives no DNS name until a healthcheck passes, and the cluster waits for names", s.Name)
			}
			if s.UpdateConfig.Order != api.UpdateOrderStopFirst {
				t.Errorf("%s: two servers would open the same volume", s.Name)
			}
			for _, m := range c.Mounts {
				if m.VolumeOptions.Labels[swarm.LabelStack] != stack.Name {
					t.Errorf("%s: volume %s is not found when the stack is removed", s.Name, m.Source)
				}
			}
			if isSelf(s) && strings.HasSuffix(s.Name, "-dns") {
				continue // it keeps nothing
			}
			if len(c.Mounts) != 1 || s.Labels[swarm.LabelStack] != stack.Name || s.TaskTemplate.RestartPolicy.MaxAttempts != nil {
				t.Errorf("%s: %+v", s.Name, s)
			}
			// RethinkDB is asked from the inside.
			if stack.Name != RethinkName && !slices.ContainsFunc(stack.Ready, func(p Probe) bool { return p.Service == s.Name }) {
				t.Errorf("nobody asks whether %s serves", s.Name)
			}
		}
	}
}

// Of all that a server is started with, another joiner changes its share of the
// memory alone.
func TestAnotherJoinerChangesTheShareOfMemoryAlone(t *testing.T) {
	few, many := Rethink(RethinkLayout{Joiners: 1}), Rethink(RethinkLayout{Joiners: 3})
	for i, s := range few.Services[:2] {
		c := many.Services[i].TaskTemplate.ContainerSpec
		for n, v := range c.Env {
			if v == "SKEP_SERVERS=4" {
				c.Env[n] = "SKEP_SERVERS=2"
			}
		}
		if !reflect.DeepEqual(s, many.Services[i]) {
			t.Errorf("%s becomes another", s.Name)
		}
	}
}

func TestTwoStacksShareNothingButLabels(t *testing.T) {
	one, other := Rqlite(RqliteCluster{Image: "a", Voters: 1}), Rqlite(RqliteCluster{Image: "b", Voters: 5})
	if one.Services[0].TaskTemplate.ContainerSpec.Image != "a" || other.Services[0].TaskTemplate.ContainerSpec.Image != "b" {
		t.Error("one became the other")
	}
	if AppStack("rqlite") == one.Name || AppStack("rethink") == RethinkName {
		t.Error("an app can take a database's place")
	}
}

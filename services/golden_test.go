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
	full.Env, full.Network, full.Publish = []string{"GREETING=Hi", "EMPTY="}, "dbnet", []int{80, 8443}
	return map[string]Stack{
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
		"rethink-1":           Rethink(RethinkImage, 1),
		"rethink-3":           Rethink(RethinkImage, 3),
		"app":                 App(app, true),
		"app-no-ipvs":         App(app, false),
		"app-publish":         App(full, true),
		"app-publish-no-ipvs": App(full, false),
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
			return "\n\t" + gots[i] + "\nnot\n\t" + wants[i]
		}
	}
	return "its end"
}

// What the golden files would let slip once somebody writes them anew.
func TestDatabases(t *testing.T) {
	for name, stack := range stacks() {
		if strings.HasPrefix(name, "app") {
			continue
		}
		for _, s := range stack.Services {
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
			if !slices.ContainsFunc(stack.Ready, func(p Probe) bool { return p.Service == s.Name }) {
				t.Errorf("nobody asks whether %s serves", s.Name)
			}
		}
	}
}

func TestAnotherJoinerRestartsNobody(t *testing.T) {
	few, many := Rethink(RethinkImage, 1), Rethink(RethinkImage, 3)
	for i, s := range few.Services {
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
	if AppStack("rqlite") == one.Name || AppStack("rethink") == Rethink("", 1).Name {
		t.Error("an app can take a database's place")
	}
}

package compose

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skep/usage"

	"github.com/docker/docker/api/types/mount"
	api "github.com/docker/docker/api/types/swarm"
)

var update = flag.Bool("update", false, "write the golden file anew")

func TestAStackIsAsItsGoldenFileSays(t *testing.T) {
	stack, err := Load(t.Context(), "testdata/shop.yml", "shop")
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(stack, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := "testdata/shop.json"
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
		t.Errorf("%s differs; go test ./compose -update writes it anew:\n%s", file, got)
	}
}

func load(t *testing.T, text string) (Stack, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "My Shop")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "compose.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("TAG=0.3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(t.Context(), file, "")
}

func TestNamesAndVariables(t *testing.T) {
	stack, err := load(t, "services: {web: {image: 'hello:${TAG}'}}")
	if err != nil || stack.Name != "myshop" || stack.Services[0].Name != "myshop_web" || stack.Services[0].TaskTemplate.ContainerSpec.Image != "hello:0.3" {
		t.Errorf("%v, %+v", err, stack)
	}
	stack, err = load(t, "name: shop\nservices: {web: {image: a}, api: {image: b, depends_on: [web]}}")
	if err != nil || stack.Name != "shop" || stack.Services[0].Name != "shop_web" {
		t.Errorf("%v, %+v", err, stack)
	}
}

// Another content is another secret, so that the swarm brings it to the tasks.
func TestAnotherContentHasAnotherName(t *testing.T) {
	name := func(content string) string {
		t.Helper()
		stack, err := load(t, "services: {web: {image: a, configs: [motd]}}\nconfigs: {motd: {content: "+content+"}}")
		if err != nil || len(stack.Kept) != 1 || stack.Kept[0].Name != stack.Services[0].TaskTemplate.ContainerSpec.Configs[0].ConfigName {
			t.Fatalf("%v, %+v", err, stack)
		}
		return stack.Kept[0].Name
	}
	if one, again := name("one"), name("one"); one != again || one == name("two") {
		t.Error("names do not tell contents apart")
	}
}

func TestWhatASwarmCannotDoIsRefused(t *testing.T) {
	for text, words := range map[string]string{ // #nosec G101 -- no credentials
		"services: {web: {build: .}}":                                                                                           "service web: build is not for a swarm",
		"services: {web: {image: a, network_mode: host}}":                                                                       "network_mode is not for a swarm",
		"services: {web: {image: a, privileged: true}}":                                                                         "privileged is not for a swarm",
		"services: {web: {image: a, depends_on: {api: {condition: service_healthy}}}, api: {image: b}}":                         "condition service_healthy",
		"services: {web: {image: a, volumes: ['./html:/html']}}":                                                                "is a folder of this computer",
		"services: {web: {image: a, ports: ['127.0.0.1:80:80']}}":                                                               "not on 127.0.0.1",
		"services: {web: {image: a, networks: [x]}}\nnetworks: {x: {driver: bridge}}":                                           "driver bridge is one node's own",
		"services: {web: {image: a, secrets: [x]}}\nsecrets: {x: {file: ./nowhere}}":                                            "no such file",
		"services: {web: {image: a, secrets: [x]}}\nsecrets: {x: {environment: SKEP_TEST_NOT_SET}}":                             "SKEP_TEST_NOT_SET",
		"services: {web: {image: a, deploy: {mode: replicated-job}}}":                                                           "replicated-job",
		"services: {web: {image: a, volumes: ['../html:/html']}}":                                                               "is a folder of this computer",
		"services: {web: {image: a, volumes: ['~/html:/html']}}":                                                                "is a folder of this computer",
		"services: {web: {image: a, networks: {x: {ipv4_address: 10.0.0.9}}}}\nnetworks: {x: {}}":                               "left to the swarm",
		"services: {web: {image: a, tmpfs: ['/run:noexec']}}":                                                                   "size and mode",
		"services: {web: {image: a, volumes: [{type: volume, source: d, target: /d, volume: {subpath: x}}]}}\nvolumes: {d: {}}": "subpath",
		"services: {}": "no services",
	} {
		_, err := load(t, text)
		if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"", "services: [", "services: {web: {image: a, ports: [http]}}", "services: {web: {imag: a}}", "services: {web: {image: a, networks: [nowhere]}}", "hello"} {
		_, err := load(t, text)
		var wrong usage.Error
		if !errors.As(err, &wrong) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestSmallPrintIsHonoured(t *testing.T) {
	stack, err := load(t, "services: {web: {image: a, restart: 'on-failure:5', tmpfs: ['/run:size=64m,mode=1770'], volumes: ['/srv/html:/html:rslave']}}")
	if err != nil {
		t.Fatal(err)
	}
	task := stack.Services[0].TaskTemplate
	if p := task.RestartPolicy; p.Condition != api.RestartPolicyConditionOnFailure || p.MaxAttempts == nil || *p.MaxAttempts != 5 {
		t.Errorf("%+v", p)
	}
	mounts := task.ContainerSpec.Mounts
	if len(mounts) != 2 || mounts[0].Source != "/srv/html" || mounts[0].BindOptions.Propagation != mount.PropagationRSlave {
		t.Fatalf("%+v", mounts)
	}
	if o := mounts[1].TmpfsOptions; o == nil || o.SizeBytes != 64<<20 || o.Mode != 0o1770 {
		t.Errorf("%+v", o)
	}
}

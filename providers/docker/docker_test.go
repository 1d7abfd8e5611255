package docker

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"skep/providers"
	"skep/tunnel"
	"skep/usage"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

// node is a node's container as a listing shows it.
func node(name, address string, change ...func(*container.Summary)) container.Summary {
	env, rest, _ := strings.Cut(name, "-")
	role, _, _ := strings.Cut(rest, "-")
	c := container.Summary{
		ID: "id-" + name, Created: 1_700_000_000, State: container.StateRunning,
		Labels: map[string]string{labelEnv: env, labelNode: name, labelRole: role, labelRegion: "local", labelBatch: name},
		Ports: []container.Port{
			{PrivatePort: 2376, Type: "tcp"},
			{IP: "127.0.0.1", PrivatePort: 22, PublicPort: 32768, Type: "tcp"},
			{IP: "0.0.0.0", PrivatePort: 80, PublicPort: 80, Type: "tcp"}, // somebody published by hand
		},
	}
	c.NetworkSettings = &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{
		"bridge":         {IPAddress: "172.17.0.2"},
		networkName(env): {IPAddress: address, IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: address}},
	}}
	for _, f := range change {
		f(&c)
	}
	return c
}

func TestMachineIsWhatTheContainersLabelsSay(t *testing.T) {
	d := &Driver{Key: "/home/me/.config/skep/id_ed25519"}
	c := node("dev-worker-2", "10.201.0.4", func(c *container.Summary) {
		c.Labels[labelRegion], c.Labels[labelBatch] = "attic", "dev-manager-1,dev-worker-1,dev-worker-2"
	})
	want := providers.Machine{
		Env: "dev", Name: "dev-worker-2", Role: providers.Worker, Driver: "docker", Region: "attic",
		Address: "10.201.0.4", PrivateAddress: "10.201.0.4", Local: true, Running: true,
		Batch:   []string{"dev-manager-1", "dev-worker-1", "dev-worker-2"},
		Created: time.Unix(1_700_000_000, 0).UTC(),
		SSH:     tunnel.Endpoint{Name: "dev-worker-2", Address: "127.0.0.1:32768", User: "root", KeyFile: d.Key},
	}
	if got := d.machine(c); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, not\n%+v", got, want)
	}
}

func TestMachineThatDoesNotRun(t *testing.T) {
	for state, test := range map[container.ContainerState]struct{ running, fresh bool }{
		container.StateRunning:    {true, false},
		container.StateRestarting: {true, false},
		container.StateCreated:    {false, true},
		container.StateExited:     {false, false},
		container.StateDead:       {false, false},
		container.StatePaused:     {false, false},
		container.StateRemoving:   {false, false},
	} {
		m := (&Driver{}).machine(node("dev-worker-1", "10.201.0.3", func(c *container.Summary) { c.State, c.Ports = state, nil }))
		if m.Running != test.running || m.Fresh != test.fresh {
			t.Errorf("%s: running %t, fresh %t", state, m.Running, m.Fresh)
		}
		// Its address is its own for good; its SSH port is not.
		if m.Address != "10.201.0.3" || m.SSH.Address != "" {
			t.Errorf("%s: at %s, SSH at %q", state, m.Address, m.SSH.Address)
		}
	}
}

func TestListIsInOrderAndOfTheEnvironmentAlone(t *testing.T) {
	var filters []string
	d, _ := startEngine(t, map[string]http.HandlerFunc{"GET /containers/json": func(w http.ResponseWriter, r *http.Request) {
		filters = append(filters, r.URL.Query().Get("filters")+" "+r.URL.Query().Get("all"))
		answer([]container.Summary{node("dev-worker-10", "10.201.0.5"), node("dev-worker-9", "10.201.0.4"), node("dev-manager-1", "10.201.0.2")})(w, r)
	}})
	machines, err := d.List(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range machines {
		names = append(names, m.Name)
	}
	if want := []string{"dev-manager-1", "dev-worker-9", "dev-worker-10"}; !slices.Equal(names, want) {
		t.Errorf("%v, not %v", names, want)
	}
	if _, err := d.List(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	// All of them, stopped ones too.
	if want := []string{`{"label":{"skep.env=dev":true}} 1`, `{"label":{"skep.env":true}} 1`}; !slices.Equal(filters, want) {
		t.Errorf("asked for %q, not %q", filters, want)
	}
}

// An engine that restarts brings back what was started and not what was stopped.
func TestStartAndStopSetTheRestartPolicyFirst(t *testing.T) {
	var mu sync.Mutex
	var did []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		did = append(did, what)
	}
	d, _ := startEngine(t, map[string]http.HandlerFunc{
		"POST /containers/dev-worker-1/update": func(w http.ResponseWriter, r *http.Request) {
			note("policy " + string(body[container.UpdateConfig](t, r).RestartPolicy.Name))
			answer(container.UpdateResponse{})(w, r)
		},
		"POST /containers/dev-worker-1/start": func(w http.ResponseWriter, _ *http.Request) {
			note("start")
			w.WriteHeader(http.StatusNoContent)
		},
		"POST /containers/dev-worker-1/stop": func(w http.ResponseWriter, r *http.Request) {
			note("stop " + r.URL.Query().Get("t"))
			w.WriteHeader(http.StatusNoContent)
		},
	})
	machines := []providers.Machine{{Name: "dev-worker-1"}}
	if err := d.Start(t.Context(), machines); err != nil {
		t.Error(err)
	}
	if err := d.Stop(t.Context(), machines); err != nil {
		t.Error(err)
	}
	if want := []string{"policy always", "start", "policy no", fmt.Sprintf("stop %d", stopSeconds)}; !slices.Equal(did, want) {
		t.Errorf("did %q, not %q", did, want)
	}
}

// A node that could not be stopped runs on, as one that was started.
func TestAStopThatFailsKeepsTheRestartPolicy(t *testing.T) {
	var policies []container.RestartPolicyMode
	d, _ := startEngine(t, map[string]http.HandlerFunc{
		"POST /containers/dev-worker-1/update": func(w http.ResponseWriter, r *http.Request) {
			policies = append(policies, body[container.UpdateConfig](t, r).RestartPolicy.Name)
			answer(container.UpdateResponse{})(w, r)
		},
		"POST /containers/dev-worker-1/stop": refuse(http.StatusInternalServerError, "cannot stop container"),
	})
	oneLine(t, d.Stop(t.Context(), []providers.Machine{{Name: "dev-worker-1"}}), "stop dev-worker-1: ", "cannot stop container")
	if want := []container.RestartPolicyMode{whileStopped, whileStarted}; !slices.Equal(policies, want) {
		t.Errorf("set %q, not %q", policies, want)
	}
}

func TestOneMachineThatFailsDoesNotHoldUpTheOthers(t *testing.T) {
	d, e := startEngine(t, map[string]http.HandlerFunc{
		"POST /containers/dev-worker-1/update": refuse(http.StatusInternalServerError, "out of disk\nand more"),
		"POST /containers/dev-worker-2/update": answer(container.UpdateResponse{}),
		"POST /containers/dev-worker-2/start":  accept(http.StatusNoContent),
	})
	err := d.Start(t.Context(), []providers.Machine{{Name: "dev-worker-1"}, {Name: "dev-worker-2"}})
	oneLine(t, err, "dev-worker-1", "out of disk")
	if e.count("POST /containers/dev-worker-2/start") != 1 {
		t.Error("the other was not started")
	}
}

func TestAnEngineOutOfReachIsNamed(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///nowhere.sock")
	d := &Driver{}
	oneLine(t, check(t, d), "unix:///nowhere.sock", "is it running?")
	_, err := d.List(t.Context(), "dev")
	oneLine(t, err, "unix:///nowhere.sock")

	t.Setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
	oneLine(t, check(t, &Driver{}), "tcp://192.0.2.1:2375", "own 127.0.0.1")

	t.Setenv("DOCKER_HOST", "nonsense")
	oneLine(t, check(t, &Driver{}), "nonsense")
}

func check(t *testing.T, d *Driver) error {
	t.Helper()
	_, err := d.Check(t.Context(), make([]providers.Spec, 1))
	return err
}

func TestCheckRefusesWhatGoesWithOtherDrivers(t *testing.T) {
	for want, s := range map[string]providers.Spec{
		"--size":       {Size: "s-1vcpu-1gb"},
		"--host":       {Host: "root@192.0.2.1"},
		"--driver-opt": {Options: map[string]string{"virtualbox-memory": "2048"}},
	} {
		var wrong usage.Error
		if _, err := (&Driver{}).Check(t.Context(), []providers.Spec{s}); !errors.As(err, &wrong) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}

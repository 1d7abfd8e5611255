package docker

import (
	"archive/tar"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skep/providers"
	"skep/tunnel"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/crypto/ssh"
)

func TestTarFileIsOnePrivateFileInItsFolder(t *testing.T) {
	archive, err := tarFile(authorizedKeys, "ssh-ed25519 AAAA skep\n")
	if err != nil {
		t.Fatal(err)
	}
	files, headers := unpack(t, archive)
	if len(files) != 2 || files["root/.ssh/authorized_keys"] != "ssh-ed25519 AAAA skep\n" {
		t.Fatalf("holds %q", files)
	}
	// sshd refuses keys in a folder that others may write to.
	if dir := headers["root/.ssh/"]; dir == nil || dir.Typeflag != tar.TypeDir || dir.Mode != 0o700 {
		t.Errorf("the folder is %+v", dir)
	}
	if file := headers["root/.ssh/authorized_keys"]; file.Mode != 0o600 || file.Uid != 0 || file.Gid != 0 {
		t.Errorf("the file is %+v", file)
	}
}

type createRequest struct {
	container.Config
	HostConfig       container.HostConfig
	NetworkingConfig network.NetworkingConfig
}

func TestCreateMakesLabelledNodesAtAddressesOfTheirOwn(t *testing.T) {
	batch := []string{"dev-manager-1", "dev-worker-1"}
	made := make(chan createRequest, 2)
	d, _ := startEngine(t, map[string]http.HandlerFunc{
		"GET /networks/skep-dev": answer(privileged(devNetwork("10.201.7.0/24"), "true")),
		"GET /containers/json": inTurn(
			answer([]container.Summary{node("dev-worker-7", "10.201.7.2")}),
			noContainers(), // that were tried
			answer([]container.Summary{node("dev-worker-7", "10.201.7.2"), node("dev-manager-1", "10.201.7.3"), node("dev-worker-1", "10.201.7.4")}),
		),
		// Of nodes that are there, and of another that is named alike.
		"GET /volumes": answer(volumes("dev", "skep-dev-worker-7", "skep-dev-worker-11")),
		"POST /containers/create": func(w http.ResponseWriter, r *http.Request) {
			c := body[createRequest](t, r)
			if got := r.URL.Query().Get("name"); got != c.Hostname {
				t.Errorf("%s calls itself %s", got, c.Hostname)
			}
			made <- c
			answer(container.CreateResponse{ID: c.Hostname})(w, r)
		},
		"POST /containers/dev-manager-1/start": accept(http.StatusNoContent),
		"POST /containers/dev-worker-1/start":  accept(http.StatusNoContent),
	})
	machines, err := d.Create(t.Context(), []providers.Spec{
		{Env: "dev", Name: "dev-manager-1", Role: providers.Manager, Region: "attic", Batch: batch},
		{Env: "dev", Name: "dev-worker-1", Role: providers.Worker, Batch: batch},
	})
	if err != nil || len(machines) != 2 || machines[0].Name != "dev-manager-1" || machines[1].Name != "dev-worker-1" {
		t.Fatalf("%+v, %v", machines, err)
	}
	want := map[string]struct{ address, role, region string }{
		"dev-manager-1": {"10.201.7.3", "manager", "attic"},
		"dev-worker-1":  {"10.201.7.4", "worker", "local"},
	}
	for range 2 {
		c := <-made
		w := want[c.Hostname]
		if got := c.NetworkingConfig.EndpointsConfig["skep-dev"].IPAMConfig.IPv4Address; got != w.address {
			t.Errorf("%s is at %s", c.Hostname, got)
		}
		labels := map[string]string{
			labelEnv: "dev", labelNode: c.Hostname, labelRole: w.role, labelRegion: w.region, labelBatch: "dev-manager-1,dev-worker-1",
		}
		for k, v := range labels {
			if c.Labels[k] != v || c.HostConfig.Mounts[0].VolumeOptions.Labels[k] != v {
				t.Errorf("%s: label %s is %q, its volume's %q", c.Hostname, k, c.Labels[k], c.HostConfig.Mounts[0].VolumeOptions.Labels[k])
			}
		}
		m := c.HostConfig.Mounts[0]
		if c.Image != "skep-node:0.1.0" || m.Type != mount.TypeVolume || m.Source != "skep-"+c.Hostname || m.Target != "/var/lib/docker" {
			t.Errorf("%+v", c)
		}
		if ssh := c.HostConfig.PortBindings["22/tcp"]; len(ssh) != 1 || ssh[0].HostIP != "127.0.0.1" || len(c.HostConfig.PortBindings) != 1 {
			t.Errorf("%s publishes %v", c.Hostname, c.HostConfig.PortBindings)
		}
		if !c.HostConfig.Privileged || c.HostConfig.Tmpfs["/run"] == "" || c.HostConfig.RestartPolicy.Name != whileStarted {
			t.Errorf("%+v", c.HostConfig)
		}
	}
}

func TestCreateOfNothingAsksNobody(t *testing.T) {
	d, e := startEngine(t, nil)
	if machines, err := d.Create(t.Context(), nil); len(machines) > 0 || err != nil || len(e.asked) > 0 {
		t.Errorf("%v, %v, asked %v", machines, err, e.asked)
	}
}

func volumes(env string, names ...string) volume.ListResponse {
	list := volume.ListResponse{}
	for _, n := range names {
		list.Volumes = append(list.Volumes, &volume.Volume{Name: n, Labels: map[string]string{labelEnv: env}})
	}
	return list
}

// A node that wakes up with the data of an earlier one is in its swarm.
func TestCreateRefusesAVolumeOfAnEarlierLife(t *testing.T) {
	for env, words := range map[string]string{
		"dev":   "volume skep-dev-worker-1 of an earlier dev-worker-1 is still on the local engine with its data: `skep nodes rm dev` removes it",
		"other": "not skep's",
	} {
		d, e := startEngine(t, map[string]http.HandlerFunc{
			"GET /containers/json": answer([]container.Summary{node("dev-manager-1", "10.201.7.2")}),
			"GET /volumes":         answer(volumes(env, "skep-dev-manager-1", "skep-dev-worker-1")),
		})
		_, err := d.Create(t.Context(), []providers.Spec{{Env: "dev", Name: "dev-manager-1"}, {Env: "dev", Name: "dev-worker-1"}})
		oneLine(t, err, words)
		if !errors.Is(err, providers.ErrRefused) || len(e.asked) != 2 {
			t.Errorf("%v, asked %v", err, e.asked)
		}
	}
}

// The container of a killed run's request comes after its volume.
func TestCreateWaitsForTheContainerOfAVolumeJustMade(t *testing.T) {
	made := volumes("dev", "skep-dev-worker-1")
	made.Volumes[0].CreatedAt = time.Now().UTC().Format(time.RFC3339)
	d, e := startEngine(t, map[string]http.HandlerFunc{
		"GET /containers/json": inTurn(answer([]container.Summary{}), answer([]container.Summary{node("dev-worker-1", "10.201.7.2")})),
		"GET /volumes":         answer(made),
	})
	ctx, docker := mustEngine(t, d)
	nodes, err := nodesAndVolumes(ctx, docker, []providers.Spec{{Env: "dev", Name: "dev-worker-1"}})
	if err != nil || len(nodes) != 1 || e.count("GET /containers/json") != 2 {
		t.Errorf("%v, %v, asked %v", nodes, err, e.asked)
	}
}

func TestCreateTakesANodeOfAKilledRunAndNothingElse(t *testing.T) {
	inspect := func(labels map[string]string) http.HandlerFunc {
		return answer(container.InspectResponse{ContainerJSONBase: &container.ContainerJSONBase{ID: "x"}, Config: &container.Config{Labels: labels}})
	}
	for name, test := range map[string]struct {
		labels map[string]string
		ours   bool
	}{
		"the same node":                   {map[string]string{labelEnv: "dev", labelNode: "dev-worker-1"}, true},
		"somebody's container":            {nil, false},
		"a node of another environment":   {map[string]string{labelEnv: "dev-worker", labelNode: "dev-worker-1"}, false},
		"another node of this one's name": {map[string]string{labelEnv: "dev", labelNode: "dev-worker-2"}, false},
	} {
		d, e := startEngine(t, map[string]http.HandlerFunc{
			"POST /containers/create":             refuse(http.StatusConflict, `Conflict. The container name "/dev-worker-1" is already in use`),
			"GET /containers/dev-worker-1/json":   inTurn(refuse(http.StatusNotFound, "no such container"), inspect(test.labels)),
			"POST /containers/dev-worker-1/start": accept(http.StatusNoContent),
		})
		ctx, docker := mustEngine(t, d)
		err := d.createOne(ctx, docker, providers.Spec{Env: "dev", Name: "dev-worker-1", Role: providers.Worker}, container.HostConfig{}, "10.201.7.3")
		if test.ours && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !test.ours {
			oneLine(t, err, "dev-worker-1", "not skep's")
		}
		if started := e.count("POST /containers/dev-worker-1/start") > 0; started != test.ours {
			t.Errorf("%s: started: %t", name, started)
		}
	}
}

// A call that is broken off would be carried out all the same.
func TestCreateOneMakesNothingOnceItsContextIsOver(t *testing.T) {
	d, e := startEngine(t, nil)
	_, docker := mustEngine(t, d)
	why := errors.New("stopped by interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	err := d.createOne(ctx, docker, providers.Spec{Env: "dev", Name: "dev-worker-1"}, container.HostConfig{}, "10.201.7.3")
	if !errors.Is(err, why) || len(e.asked) > 0 {
		t.Errorf("error %v, asked %v", err, e.asked)
	}
}

// file answers a copy out of a container.
func file(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		stat, _ := json.Marshal(container.PathStat{Name: filepath.Base(hostKey)})
		w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(stat))
		archive := tar.NewWriter(w)
		_ = archive.WriteHeader(&tar.Header{Name: filepath.Base(hostKey), Size: int64(len(content))})
		_, _ = io.WriteString(archive, content)
		_ = archive.Close()
	}
}

func status(running bool, restarts int) http.HandlerFunc {
	return answer(container.InspectResponse{ContainerJSONBase: &container.ContainerJSONBase{
		ID: "x", RestartCount: restarts, State: &container.State{Running: running},
	}})
}

const aHostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBAOVv6qbhn3z3ZEqHsZK0Wo0pqtOeKW0VAcV3K2Qfco root@dev-worker-1\n"

func TestAdmitWaitsForAWholeHostKey(t *testing.T) {
	var sent string
	d, e := startEngine(t, map[string]http.HandlerFunc{
		"PUT /containers/dev-worker-1/archive": func(_ http.ResponseWriter, r *http.Request) {
			files, _ := unpack(t, r.Body)
			sent = files["root/.ssh/authorized_keys"]
		},
		"GET /containers/dev-worker-1/archive": inTurn(
			file("ssh-ed25519 AAAA colleague"), // those who are let in already
			refuse(http.StatusNotFound, "Could not find the file"),
			file(""),
			file(aHostKey[:40]),
			file(aHostKey),
		),
		"GET /containers/dev-worker-1/json": status(true, 0),
	})
	d.Key = filepath.Join(t.TempDir(), "id_ed25519")
	key, err := d.Admit(t.Context(), providers.Machine{Name: "dev-worker-1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))); !strings.HasPrefix(aHostKey, got) {
		t.Errorf("read %q", got)
	}
	ours, others := strings.CutPrefix(sent, "ssh-ed25519 AAAA colleague\n")
	if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(ours)); err != nil || !others || strings.Count(sent, "\n") != 2 {
		t.Errorf("admits %q: %v", sent, err)
	}
	if n := e.count("GET /containers/dev-worker-1/archive"); n != 5 {
		t.Errorf("looked %d times", n)
	}
}

func TestAdmitEndsWithTheNodesLastWords(t *testing.T) {
	says := func(words string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(stdcopy.NewStdWriter(w, stdcopy.Stderr), words)
		}
	}
	for name, test := range map[string]struct {
		state, logs http.HandlerFunc
		words       string
	}{
		"a kernel without a feature": {status(false, 0), says("skep-node: the kernel has no VXLAN, which overlay networks need\n"), "no VXLAN"},
		"one that starts over again": {status(true, 1), says("skep-node: sshd does not start\n"), "sshd does not start"},
		"one that said nothing":      {status(false, 0), says(""), "without a word"},
		"one whose log is lost":      {status(false, 0), refuse(http.StatusInternalServerError, "no log driver"), "no log driver"},
	} {
		d, _ := startEngine(t, map[string]http.HandlerFunc{
			"PUT /containers/dev-worker-1/archive": accept(http.StatusOK),
			"GET /containers/dev-worker-1/archive": refuse(http.StatusNotFound, "Could not find the file"),
			"GET /containers/dev-worker-1/json":    test.state,
			"GET /containers/dev-worker-1/logs":    test.logs,
		})
		d.Key = filepath.Join(t.TempDir(), "id_ed25519")
		_, err := d.Admit(t.Context(), providers.Machine{Name: "dev-worker-1"})
		oneLine(t, err, "dev-worker-1", test.words)
		if !errors.Is(err, providers.ErrBoot) {
			t.Errorf("%s: %v may be tried again", name, err)
		}
	}
}

func TestAdmitEndsWithItsContext(t *testing.T) {
	why := errors.New("stopped by interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	d, _ := startEngine(t, map[string]http.HandlerFunc{
		"PUT /containers/dev-worker-1/archive": accept(http.StatusOK),
		"GET /containers/dev-worker-1/archive": refuse(http.StatusNotFound, "Could not find the file"),
		"GET /containers/dev-worker-1/json": func(w http.ResponseWriter, r *http.Request) {
			status(true, 0)(w, r)
			cancel(why)
		},
	})
	d.Key = filepath.Join(t.TempDir(), "id_ed25519")
	_, err := d.Admit(ctx, providers.Machine{Name: "dev-worker-1"})
	oneLine(t, err, "wait for dev-worker-1 to boot: "+why.Error())
	_, err = d.Admit(ctx, providers.Machine{Name: "dev-worker-1"}) // over before it begins
	oneLine(t, err, "wait for dev-worker-1 to boot: "+why.Error())
}

func TestAdmitLeavesAKeyThatIsThere(t *testing.T) {
	key := filepath.Join(t.TempDir(), "id_ed25519")
	public, err := tunnel.EnsureKey(key)
	if err != nil {
		t.Fatal(err)
	}
	d, _ := startEngine(t, map[string]http.HandlerFunc{
		"GET /containers/dev-worker-1/archive": inTurn(file(public+"\nssh-ed25519 AAAA colleague\n"), file(aHostKey)),
	})
	d.Key = key
	if _, err := d.Admit(t.Context(), providers.Machine{Name: "dev-worker-1"}); err != nil {
		t.Error(err)
	}
}

func TestHostConfigAsksForCapabilitiesWherePrivilegedIsRefused(t *testing.T) {
	d, _ := startEngine(t, map[string]http.HandlerFunc{"GET /info": answer(map[string]string{"CgroupVersion": "1"})})
	ctx, docker := mustEngine(t, d)
	host, err := hostConfig(ctx, docker, privileged(devNetwork("10.201.7.0/24"), "false"))
	if err != nil || host.Privileged || len(host.CapAdd) == 0 || !host.CgroupnsMode.IsHost() {
		t.Errorf("%+v, %v", host, err)
	}
}

func TestFirstLine(t *testing.T) {
	for text, want := range map[string]string{"one": "one", "one\ntwo": "one", "\n one \ntwo": "one ", "": ""} {
		if got := firstLine(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}

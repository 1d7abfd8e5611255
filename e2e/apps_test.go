package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Apps as their developers know them, on an environment of two regions: built
// with no engine, sent once a region, deployed, looked after, reached by the
// docker CLI, and all that again when a manager has died.
func TestApps(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	env := u.environment("apps")
	u.must("nodes", "create", "-m", "3", "-w", "1", "--region", "eu,us", env)

	t.Run("built", func(t *testing.T) { builtAndSent(t, u, env) })
	t.Run("deployed", func(t *testing.T) { lookedAfter(t, u, env) })
	t.Run("refused", func(t *testing.T) { badInput(t, u, env) })
	t.Run("compose", func(t *testing.T) { composed(t, u, env) })
	t.Run("docker", func(t *testing.T) { dockerCLI(t, u, env) })
}

// sentBytes adds up what progress says was sent from here, by node.
func sentBytes(t *testing.T, text string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(\S+): (\S+) of (\S+), .*$`).FindAllStringSubmatch(text, -1) {
		if m[2] != m[3] {
			t.Errorf("not all was sent: %s", m[0])
		}
		if !strings.Contains(m[0], ", by way of ") {
			found[m[1]] = m[2]
		}
	}
	return found
}

func builtAndSent(t *testing.T, u *user, env string) {
	source := filepath.Join(u.home, "hello")
	if err := os.CopyFS(source, os.DirFS("../testdata/hello")); err != nil {
		t.Fatal(err)
	}
	// The sample app's requirements are among those of the whole project.
	requires, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	module := strings.Replace(string(requires), "module skep", "module hello", 1)
	for file, text := range map[string]string{"go.mod": module, "go.sum": string(sums), "ballast": strings.Repeat("ballast", 1<<20)} {
		if err := os.WriteFile(filepath.Join(source, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := func(image string, more ...string) (string, string) {
		t.Helper()
		r := u.must(append([]string{"app", "build", "--json", "-p", "9090", "-a", filepath.Join(source, "ballast"), source, image, env}, more...)...)
		var built struct{ Digest string }
		if err := json.Unmarshal([]byte(r.out), &built); err != nil {
			t.Fatalf("%v: %s", err, r.out)
		}
		return built.Digest, r.errs
	}
	first, told := build("built:1")
	// One node of each region got it from here, and all have it.
	if sent := sentBytes(t, told); len(sent) != 2 {
		t.Errorf("sent from here to %v", sent)
	}
	if n := strings.Count(told, ", by way of "); n != 2 {
		t.Errorf("%d nodes got it from a neighbour", n)
	}
	for _, n := range u.nodes(env) {
		if has := docker(t, "exec", n.Name, "docker", "image", "ls", "-q", "built:1"); has == "" {
			t.Errorf("%s has no image", n.Name)
		}
	}
	again, told := build("built:1")
	if again != first || strings.Contains(told, "sending") {
		t.Errorf("the same build again: %s, then %s: %s", first, again, told)
	}
	// Of another version goes what differs, which here is next to nothing. That this
	// computer's engine has had another image of that name for longer is no matter.
	docker(t, "tag", helloImage, "built:2")
	t.Cleanup(func() { docker(t, "rmi", "built:2") })
	_, told = build("built:2", "-e", "GREETING=Hi")
	for node, bytes := range sentBytes(t, told) {
		if !strings.HasSuffix(bytes, "kB") || len(bytes) > len("10.24kB") {
			t.Errorf("%s was sent %s of the image again", node, bytes)
		}
	}
}

// lookedAfter is the life of an app that skep built, with its healthcheck.
func lookedAfter(t *testing.T, u *user, env string) {
	deploy := func(image string, more ...string) result {
		t.Helper()
		return u.run(append([]string{"app", "deploy", "-r", "2", "-t", "9090", "--health", "http://:9090/healthz", "greet", image, env}, more...)...)
	}
	r := deploy("built:1")
	if r.code != 0 {
		t.Fatalf("exit %d", r.code)
	}
	local, _, _ := strings.Cut(r.out, " ")
	eventually(t, time.Minute, "the app answers", func() error { return says("http://"+local+"/a", `Hello, "/a"`) })
	if r := deploy("built:1"); r.code != 0 || !strings.Contains(r.errs, "unchanged") {
		t.Errorf("deployed again: exit %d: %s", r.code, r.errs)
	}
	if r := deploy("built:2"); r.code != 0 || !strings.Contains(r.errs, "updated") {
		t.Errorf("deployed the next: exit %d: %s", r.code, r.errs)
	}
	eventually(t, time.Minute, "the next version answers", func() error { return says("http://"+local+"/b", `Hi, "/b"`) })
	u.must("app", "rollback", "greet", env)
	eventually(t, time.Minute, "the first version answers", func() error { return says("http://"+local+"/c", `Hello, "/c"`) })
	u.refused(1, []string{"keeps no version"}, "app", "rollback", "greet", env)
	u.must("app", "scale", "greet", "3", env)
	u.refused(1, []string{"keeps no version"}, "app", "rollback", "greet", env)
	var tasks []struct{ Task, Node, State string }
	if err := json.Unmarshal([]byte(u.must("app", "ps", "greet", env, "--json").out), &tasks); err != nil || len(tasks) != 3 {
		t.Errorf("tasks: %v, %+v", err, tasks)
	}
	var apps []struct {
		App, Image      string
		Running, Wanted int
	}
	if err := json.Unmarshal([]byte(u.must("app", "ls", env, "--json").out), &apps); err != nil || len(apps) != 1 || apps[0].Image != "built:1" || apps[0].Running != 3 || apps[0].Wanted != 3 {
		t.Errorf("apps: %v, %+v", err, apps)
	}
	eventually(t, time.Minute, "a line of each task", func() error {
		log := u.must("app", "logs", "greet", env).out
		for _, task := range tasks {
			if !strings.Contains(log, task.Task+"@"+task.Node+" | ") {
				return fmt.Errorf("nothing of %s in %q", task.Task, log)
			}
		}
		return nil
	})
	u.must("app", "rm", "greet", env)
}

// badInput is refused in a line, and changes nothing.
func badInput(t *testing.T, u *user, env string) {
	u.must("app", "deploy", "-p", "9191", "holder", helloImage, env)
	before := docker(t, "exec", env+"-manager-1", "docker", "service", "ls", "-q")
	for what, test := range map[string]struct {
		code  int
		words []string
		args  []string
	}{
		"no DNS label":           {2, []string{`"my_app"`, "DNS name"}, []string{"my_app", helloImage}},
		"a port beyond the last": {2, []string{"70000", "65535"}, []string{"-p", "70000", "app", helloImage}},
		"a port of another app":  {1, []string{"9191", "holder"}, []string{"-p", "9191", "app", helloImage}},
		"a port of the node":     {1, []string{"port 22", "-manager-1"}, []string{"-p", "22", "app", helloImage}},
		"no such network":        {1, []string{"network nowhere"}, []string{"-n", "nowhere", "app", helloImage}},
		"no such image":          {1, []string{"nowhere.invalid/app:1"}, []string{"app", "nowhere.invalid/app:1"}},
		"no such secret":         {1, []string{"secret nowhere"}, []string{"--secret", "nowhere", "app", helloImage}},
		"no such place":          {1, []string{"no node", "node.role==nobody"}, []string{"--placement", "node.role==nobody", "app", helloImage}},
		"too many for a port":    {2, []string{"5 replicas on 4 nodes"}, []string{"-p", "9192", "-r", "5", "app", helloImage}},
	} {
		t.Log(what)
		u.refused(test.code, test.words, append(append([]string{"app", "deploy"}, test.args...), env)...)
	}
	foreignImage(t, env+"-manager-1", "foreign:1")
	u.refused(1, []string{"foreign:1 is for arm64", "is amd64"}, "app", "deploy", "app", "foreign:1", env)
	if after := docker(t, "exec", env+"-manager-1", "docker", "service", "ls", "-q"); after != before {
		t.Errorf("services were %q and are %q", before, after)
	}
	u.must("app", "rm", "holder", env)
	// A service of the user's own is left as it is.
	docker(t, "exec", env+"-manager-1", "docker", "service", "create", "-q", "-d", "--no-resolve-image", "--name", "theirs", "--replicas", "3",
		"--endpoint-mode", "dnsrr", "--publish", "mode=host,published=9393,target=9090", helloImage)
	u.refused(1, []string{"there is a service theirs already"}, "app", "deploy", "-p", "9394", "-r", "1", "theirs", helloImage, env)
	if got := docker(t, "exec", env+"-manager-1", "docker", "service", "inspect", "-f", "{{.Spec.Mode.Replicated.Replicas}}", "theirs"); got != "3" {
		t.Errorf("a service of the user's own has %s tasks", got)
	}
	docker(t, "exec", env+"-manager-1", "docker", "service", "rm", "theirs")
}

// foreignImage gives a node an image that is built for another architecture.
func foreignImage(t *testing.T, node, tag string) {
	t.Helper()
	ref, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "arm64", RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(file, ref, image); err != nil {
		t.Fatal(err)
	}
	if out, err := output("sh", "-c", "docker exec -i "+node+" docker load -q <"+file); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

const composeFile = `
services:
  web:
    image: hello:0.1
    depends_on: [back]
    ports: ["9191:9090"]
    environment: {GREETING: "${WORD:-Composed}"}
    secrets: [token]
    configs: [{source: motd, target: /etc/motd}]
    volumes: ["data:/data"]
    deploy: {replicas: 2, resources: {limits: {memory: 64M}}}
  back:
    image: hello:0.1
  once:
    image: hello:0.1
    command: ["-h"]
    restart: "no"
secrets: {token: {file: ./token}}
configs: {motd: {content: hello}}
volumes: {data: {}}
`

// composed deploys a compose file, changes it, and removes all that it made.
func composed(t *testing.T, u *user, env string) {
	dir := filepath.Join(u.home, "shop")
	file := filepath.Join(dir, "compose.yml")
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "token"), "one")
	deploy := []string{"app", "deploy", "-f", file, env}
	nothing := func(what string) {
		t.Helper()
		for _, args := range [][]string{{"service", "ls"}, {"secret", "ls"}, {"config", "ls"}, {"network", "ls", "-f", "name=shop_"}} {
			if left := u.must(append(append([]string{"docker", env}, args...), "-q")...).out; left != "" {
				t.Errorf("left of %s: %s %s", what, args[0], left)
			}
		}
	}
	write(file, strings.Replace(composeFile, `["-h"]`, `["-nonsense"]`, 1))
	u.refused(1, []string{"service shop_once does not come up", "non-zero exit (2)", "address to listen on"}, deploy...)
	nothing("a stack that did not come up")
	write(file, composeFile)
	u.must(deploy...)
	if r := u.must(deploy...); strings.Contains(r.errs, "updated") || strings.Contains(r.errs, "created") {
		t.Errorf("deployed again: %s", r.errs)
	}
	web := "http://" + u.open(env, "shop_web:9090")
	eventually(t, time.Minute, "the stack answers", func() error { return says(web+"/a", `Composed, "/a"`) })
	if out := u.must("docker", env, "stack", "ls", "--format", "{{.Name}} {{.Services}}").out; strings.TrimSpace(out) != "shop 3" {
		t.Errorf("docker stack ls: %q", out)
	}
	// Another secret and another variable reach the tasks; what is the same stays.
	write(filepath.Join(dir, "token"), "two")
	write(file, strings.Replace(composeFile, "Composed", "Changed", 1))
	if r := u.must(deploy...); !strings.Contains(r.errs, "service shop_back unchanged") || !strings.Contains(r.errs, "service shop_web updated") {
		t.Errorf("deployed another: %s", r.errs)
	}
	eventually(t, time.Minute, "the change answers", func() error { return says(web+"/a", `Changed, "/a"`) })
	// The version before keeps its secret, and those before that are gone.
	write(filepath.Join(dir, "token"), "three")
	u.must(deploy...)
	if kept := u.must("docker", env, "secret", "ls", "-q").out; strings.Count(kept, "\n") != 2 {
		t.Errorf("secrets: %q", kept)
	}
	write(file, strings.Replace(composeFile, "image: hello:0.1", "build: .", 1))
	u.refused(1, []string{"service web: build is not for a swarm"}, deploy...)
	u.must("app", "rm", "shop", env)
	nothing("a stack that was removed")
}

// dockerCLI reaches a manager, and another one when that has died.
func dockerCLI(t *testing.T, u *user, env string) {
	nodes := func() string { return u.must("docker", env, "node", "ls", "--format", "{{.Hostname}}").out }
	if out := nodes(); strings.Count(out, env+"-") != 4 {
		t.Errorf("docker node ls: %q", out)
	}
	if r := u.feed("from here", "docker", env, "--", "config", "create", "piped", "-"); r.code != 0 {
		t.Errorf("standard input did not arrive: exit %d", r.code)
	}
	if out := u.must("docker", env, "config", "inspect", "--pretty", "piped").out; !strings.Contains(out, "from here") {
		t.Errorf("%q", out)
	}
	if r := u.run("docker", env, "node", "inspect", "nowhere"); r.code != 1 {
		t.Errorf("exit %d, not the command's own", r.code)
	}
	if r := u.run("docker", env, "run", "--nonsense"); r.code != 125 {
		t.Errorf("exit %d, not the command's own", r.code)
	}
	line := strings.TrimSpace(u.must("env", env).out)
	host, ok := strings.CutPrefix(line, "export DOCKER_HOST=")
	if !ok {
		t.Fatalf("env printed %q", line)
	}
	info, err := os.Stat(filepath.Dir(strings.TrimPrefix(host, "unix://")))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder: %v, %v", info, err)
	}
	through := func() error {
		out, err := output("docker", "-H", host, "node", "ls", "-q")
		if err == nil && len(strings.Fields(out)) != 4 {
			err = fmt.Errorf("nodes %q", out)
		}
		return err
	}
	if err := through(); err != nil {
		t.Error(err)
	}
	// In the shell that it was printed for, skep knows its own engine still.
	u.env = []string{"DOCKER_HOST=" + host}
	if n := len(u.nodes(env)); n != 4 {
		t.Errorf("%d nodes are seen beside the environment's own socket", n)
	}
	u.env = nil
	leader := ""
	for _, n := range u.nodes(env) {
		if n.Leader {
			leader = n.Name
		}
	}
	docker(t, "kill", leader)
	t.Logf("another manager answers after %s", eventually(t, 2*time.Minute, "the next command uses another manager", func() error {
		if r := u.run("docker", env, "node", "ls", "-q"); r.code != 0 {
			return fmt.Errorf("exit %d: %s", r.code, r.errs)
		}
		return nil
	}))
	t.Logf("and through the socket after %s more", eventually(t, 2*time.Minute, "the socket leads to another manager", through))
	docker(t, "start", leader)
	u.must("env", "--close", env)
	if err := through(); err == nil {
		t.Error("the closed socket answers")
	}
}

package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
)

// dockerConfig is a folder as the docker CLI keeps it: a file a path.
func dockerConfig(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("DOCKER_CONTEXT", "")
	t.Setenv("DOCKER_HOST", "")
	t.Setenv("DOCKER_TLS_VERIFY", "")
	t.Setenv("DOCKER_CERT_PATH", "")
	t.Setenv("DOCKER_API_VERSION", "")
}

func metaOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join("contexts", "meta", hex.EncodeToString(sum[:]), "meta.json")
}

const usual = "unix:///var/run/docker.sock"

func TestTheEngineIsThatOfTheDockerCLI(t *testing.T) {
	rootless := map[string]string{
		"config.json":      `{"auths": {}, "currentContext": "rootless"}`,
		metaOf("rootless"): `{"Name": "rootless", "Metadata": {}, "Endpoints": {"docker": {"Host": "unix:///run/user/1000/docker.sock", "SkipTLSVerify": false}}}`,
		metaOf("colima"):   `{"Name": "colima", "Endpoints": {"docker": {"Host": "unix:///colima.sock"}}}`,
	}
	const ours = "unix:///skep/docker/dev/docker.sock"
	rootless[metaOf("skep-dev")] = `{"Name": "skep-dev", "Endpoints": {"docker": {"Host": "` + ours + `"}}}`
	for name, test := range map[string]struct {
		files       map[string]string
		host, named string
		want        string
	}{
		"skep's own DOCKER_HOST":         {nil, ours, "", usual},
		"skep's own before a context":    {rootless, ours, "colima", "unix:///colima.sock"},
		"skep's own context":             {rootless, "", "skep-dev", usual},
		"no configuration":               {nil, "", "", usual},
		"one that names no context":      {map[string]string{"config.json": `{"auths": {}}`}, "", "", usual},
		"the default context":            {map[string]string{"config.json": `{"currentContext": "default"}`}, "", "", usual},
		"the current context":            {rootless, "", "", "unix:///run/user/1000/docker.sock"},
		"DOCKER_CONTEXT before that":     {rootless, "", "colima", "unix:///colima.sock"},
		"DOCKER_CONTEXT, the default":    {rootless, "", "default", usual},
		"DOCKER_HOST before all others":  {rootless, "unix:///other.sock", "colima", "unix:///other.sock"},
		"DOCKER_HOST beside broken ones": {map[string]string{"config.json": `{`}, "unix:///other.sock", "", "unix:///other.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			dockerConfig(t, test.files)
			t.Setenv("DOCKER_HOST", test.host)
			t.Setenv("DOCKER_CONTEXT", test.named)
			docker, err := (&Driver{Sockets: "/skep/docker"}).Engine()
			if err != nil {
				t.Fatal(err)
			}
			if got := docker.DaemonHost(); got != test.want {
				t.Errorf("it is %s, not %s", got, test.want)
			}
		})
	}
}

func TestAConfigurationThatCannotBeReadIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		words string
	}{
		"a configuration of no sense": {map[string]string{"config.json": `{"currentContext": `}, "config.json"},
		"a context that is not there": {map[string]string{"config.json": `{"currentContext": "gone"}`}, "docker context gone"},
		"a context of no sense":       {map[string]string{"config.json": `{"currentContext": "bad"}`, metaOf("bad"): "{"}, "docker context bad"},
	} {
		t.Run(name, func(t *testing.T) {
			dockerConfig(t, test.files)
			_, err := (&Driver{}).Engine()
			oneLine(t, err, test.words)
		})
	}
}

package docker

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/client"
)

// open makes a client of the engine that the docker CLI of this user would
// talk to.
func (d *Driver) open() (*client.Client, error) {
	host, err := d.host()
	if err != nil {
		return nil, err
	}
	return client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation(), client.WithHost(cmp.Or(host, client.DefaultDockerHost)))
}

// host is the engine's address: DOCKER_HOST, else the current context, "" for
// the usual socket. What skep itself keeps open to an environment leads away
// from this computer, and is passed by.
func (d *Driver) host() (string, error) {
	if host := os.Getenv(client.EnvOverrideHost); host != "" && !d.away(host) {
		return host, nil
	}
	host, err := contextHost()
	if err != nil || d.away(host) {
		return "", err
	}
	return host, nil
}

func (d *Driver) away(host string) bool {
	return d.Sockets != "" && strings.HasPrefix(host, "unix://"+d.Sockets+"/")
}

// none says whether the computer has no engine at all: nobody named one, and
// the usual socket is not there.
func (d *Driver) none(docker *client.Client) bool {
	if host := os.Getenv(client.EnvOverrideHost); host != "" && !d.away(host) {
		return false
	}
	socket, unix := strings.CutPrefix(docker.DaemonHost(), "unix://")
	_, err := os.Stat(socket)
	return unix && errors.Is(err, fs.ErrNotExist)
}

// contextHost reads the address of the CLI's current context, "" for the
// default one. The layout is that of `docker context`: config.json names the
// context, contexts/meta/<sha256 of the name>/meta.json has its endpoint.
func contextHost() (string, error) {
	folder := os.Getenv("DOCKER_CONFIG")
	if folder == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return "", nil // nobody's contexts
		}
		folder = filepath.Join(user, ".docker")
	}
	var config struct{ CurrentContext string }
	if err := readJSON(filepath.Join(folder, "config.json"), &config); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	name := cmp.Or(os.Getenv("DOCKER_CONTEXT"), config.CurrentContext, "default")
	if name == "default" {
		return "", nil
	}
	sum := sha256.Sum256([]byte(name))
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err := readJSON(filepath.Join(folder, "contexts", "meta", hex.EncodeToString(sum[:]), "meta.json"), &meta); err != nil {
		return "", fmt.Errorf("docker context %s: %w", name, err)
	}
	return meta.Endpoints["docker"].Host, nil
}

func readJSON(file string, v any) error {
	text, err := os.ReadFile(file) // #nosec G304 -- the docker CLI's own files
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

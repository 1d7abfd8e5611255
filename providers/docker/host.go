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
// talk to: DOCKER_HOST, else the current context, else the usual socket.
func open() (*client.Client, error) {
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if os.Getenv(client.EnvOverrideHost) == "" {
		host, err := contextHost()
		if err != nil {
			return nil, err
		}
		if host != "" {
			options = append(options, client.WithHost(host))
		}
	}
	return client.NewClientWithOpts(options...)
}

// none says whether the computer has no engine at all: nobody named one, and
// the usual socket is not there.
func none(docker *client.Client) bool {
	if os.Getenv(client.EnvOverrideHost) != "" {
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

package ssh

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"skep/providers"
)

// record is what is written down of a host.
type record struct {
	Name           string            `json:"name"`
	Role           providers.Role    `json:"role"`
	Host           string            `json:"host"` // as the user named it
	Region         string            `json:"region,omitempty"`
	Options        map[string]string `json:"options,omitempty"`
	Batch          []string          `json:"batch"`
	Address        string            `json:"address"`
	PrivateAddress string            `json:"private_address,omitempty"`
	Machine        string            `json:"machine"`  // tells hosts apart, whatever they are named
	Prepared       bool              `json:"prepared"` // it is ready to join
	Created        time.Time         `json:"created"`
}

func named(all []record, name string) *record {
	i := slices.IndexFunc(all, func(r record) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// merge puts records in place of those of the same name.
func merge(all, changed []record) []record {
	all = slices.DeleteFunc(slices.Clone(all), func(r record) bool { return named(changed, r.Name) != nil })
	return append(all, changed...)
}

func without(all []record, name string) []record {
	return slices.DeleteFunc(slices.Clone(all), func(r record) bool { return r.Name == name })
}

const suffix = ".json"

func (d *Driver) file(env string) string { return filepath.Join(d.Folder, env+suffix) }

// environments are those that have hosts.
func (d *Driver) environments() ([]string, error) {
	entries, err := os.ReadDir(d.Folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the lists of hosts: %w", err)
	}
	var envs []string
	for _, e := range entries {
		if env, ours := strings.CutSuffix(e.Name(), suffix); ours && !strings.HasPrefix(env, ".") {
			envs = append(envs, env)
		}
	}
	return envs, nil
}

func (d *Driver) read(env string) ([]record, error) {
	text, err := os.ReadFile(d.file(env))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []record
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read the hosts of %s in %s: %w", env, d.file(env), err)
	}
	return all, nil
}

// change replaces the list as a whole, on the disk before it has its name. An
// empty one is removed. Callers hold the environment's lock; hosts of one call
// that are done at once take turns.
func (d *Driver) change(env string, how func([]record) []record) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	all, err := d.read(env)
	if err != nil {
		return err
	}
	if err := d.write(env, how(all)); err != nil {
		return fmt.Errorf("write the hosts of %s down: %w", env, err)
	}
	return nil
}

func (d *Driver) write(env string, all []record) error {
	if len(all) == 0 {
		if err := os.Remove(d.file(env)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.Folder, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(d.Folder, ".hosts-") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(append(text, '\n'))
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), d.file(env))
}

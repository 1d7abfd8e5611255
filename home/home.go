// Package home says where skep keeps its few local files: the SSH key pair,
// the pinned host keys of each environment, the tunnel table and what the
// background tunnel process needs, and which hosts the user lent to which
// environment. Nothing else in them is needed to find or to remove a machine: the
// providers are the truth, skep keeps intent only.
//
// It is the lowest layer: it knows paths and nothing else of skep.
package home

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/adrg/xdg"
)

// Dir holds the two folders of skep, following the XDG base directory rules
// (and their counterparts on macOS and Windows). Files are 0600, folders 0700.
type Dir struct {
	Config string // keys, passwords
	State  string // known hosts, tunnel table, sockets, locks, logs
}

// Default is the user's own Dir.
func Default() Dir {
	return Dir{
		Config: filepath.Join(xdg.ConfigHome, "skep"),
		State:  filepath.Join(xdg.StateHome, "skep"),
	}
}

// Make creates the folders.
func (d Dir) Make() error {
	for _, dir := range []string{d.Config, d.State, filepath.Join(d.State, "known_hosts")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make a folder for skep's files: %w", err)
		}
	}
	return nil
}

// Key is the private SSH key; its public half is beside it with ".pub".
func (d Dir) Key() string { return filepath.Join(d.Config, "id_ed25519") }

// KnownHosts holds the pinned host keys of an environment's nodes.
func (d Dir) KnownHosts(env string) string { return filepath.Join(d.State, "known_hosts", env) }

// RethinkPassword is the admin password of the environment's RethinkDB.
func (d Dir) RethinkPassword(env string) string {
	return filepath.Join(d.Config, "passwords", env+".rethink")
}

// Hosts has the lists of hosts that the user lent to environments: the only
// record of them there is.
func (d Dir) Hosts() string { return filepath.Join(d.Config, "hosts") }

// Lock is held while a command changes the environment.
func (d Dir) Lock(env string) string { return filepath.Join(d.State, env+".lock") }

// TunnelTable is the table of tunnel ports of all environments.
func (d Dir) TunnelTable() string { return filepath.Join(d.State, "tunnels.json") }

// TunnelSocket is where the environment's tunnel process listens for skep.
func (d Dir) TunnelSocket(env string) string { return filepath.Join(d.State, env+".sock") }

// TunnelLog is what the environment's tunnel process writes.
func (d Dir) TunnelLog(env string) string { return filepath.Join(d.State, env+".tunnel.log") }

// Sockets has the sockets that lead to the engines of environments.
func (d Dir) Sockets() string { return filepath.Join(d.State, "docker") }

// Cache holds what takes long to make and can be made again.
func (d Dir) Cache() string { return filepath.Join(d.State, "cache") }

// Package firewall guards a node by rules of its own kernel: SSH from anywhere,
// the swarm's own ports from the environment's nodes alone, published ports, and
// nothing else. The rules come before Docker's, which would open what is
// published to everybody, and are there again after a restart.
//
// It works on one machine over SSH (package tunnel) and must not know what a
// swarm or an environment is: whom to let in is told to it.
package firewall

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"strings"
)

//go:embed machine.sh
var script string

// Machine is where the rules are for: an SSH connection of package tunnel.
type Machine interface {
	Name() string
	Run(ctx context.Context, command string, stdin io.Reader) (string, error)
}

// State is what there is on a machine in the end.
type State string

// The states, in the script's own words.
const (
	None    State = "none"    // no firewall of skep's
	Kept    State = "kept"    // one that is there again after a restart
	Passing State = "passing" // one that is gone after a restart: nothing there could bring it back
)

// Install puts the rules in force and has them come back at every start. Where
// they are already, the new ones replace them at once; connections that are
// let in stay.
func Install(ctx context.Context, m Machine, r Rules) (State, error) {
	s, err := run(ctx, m, "install", r)
	if err != nil {
		return s, fmt.Errorf("guard %s by a firewall: %w (--no-firewall goes without)", m.Name(), err)
	}
	return s, nil
}

// Update is Install for a machine that has a firewall; one that has none stays
// without.
func Update(ctx context.Context, m Machine, r Rules) (State, error) {
	s, err := run(ctx, m, "update", r)
	if err != nil {
		return s, fmt.Errorf("update the firewall of %s: %w", m.Name(), err)
	}
	return s, nil
}

// Remove leaves no rule and no file. There need not be any.
func Remove(ctx context.Context, m Machine) error {
	if _, err := run(ctx, m, "remove", Rules{}); err != nil {
		return fmt.Errorf("remove the firewall of %s: %w", m.Name(), err)
	}
	return nil
}

// asRoot runs the script that follows on standard input. sudo keeps no
// variables, so the port of this connection is the script's argument.
const asRoot = `p=${SSH_CONNECTION##* }; if [ "$(id -u)" = 0 ]; then exec sh -s "$p"; else exec sudo -n sh -s "$p"; fi`

func run(ctx context.Context, m Machine, mode string, r Rules) (State, error) {
	out, err := m.Run(ctx, asRoot, strings.NewReader(program(mode, r)))
	if err != nil {
		return None, err
	}
	return State(strings.TrimSpace(out)), nil
}

// program is the script with what it works on.
func program(mode string, r Rules) string {
	return fmt.Sprintf("mode=%s\nv4='%s'\nv6='%s'\n", mode, r.text(v4()), r.text(v6())) + script
}

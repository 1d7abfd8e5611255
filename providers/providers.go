// Package providers says what a driver is: something that boots, lists,
// starts, stops and deletes machines. Each driver lives in a folder of its own
// below this one.
//
// Drivers know nothing of Docker swarm, databases or apps; they depend on
// package tunnel only for the form of an SSH endpoint.
package providers

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"skep/tunnel"

	"golang.org/x/crypto/ssh"
)

// Role is what a machine is in its swarm.
type Role string

// The two roles.
const (
	Manager Role = "manager"
	Worker  Role = "worker"
)

// Machine is one machine as its provider tells it. It is plain data.
type Machine struct {
	Env, Name      string
	Role           Role
	Driver         string
	Region         string
	Size           string
	Host           string // as the user named it, where it was there before
	Address        string // where others reach it
	PrivateAddress string // where machines of its region reach it
	Local          bool   // no other computer reaches it: a container or a VM on this one
	Running        bool
	Fresh          bool     // made, but never started
	Batch          []string // names of all machines that were asked for with it
	HourlyUSD      float64  // what it costs, whether it runs or not
	Created        time.Time
	SSH            tunnel.Endpoint // KnownHosts is left to the caller
}

// Spec is a machine to be made.
type Spec struct {
	Env, Name string
	Role      Role
	Driver    string            // as it was asked for: one driver may go by many names
	Region    string            // this and the next two: "" is the driver's own
	Size      string            //
	Image     string            //
	Host      string            // USER@ADDRESS[:PORT] of a host that exists, for drivers that make none
	Options   map[string]string // what only this driver knows
	Install   bool              // the engine, on a host that has none
	Private   bool              // nodes are to reach each other at their private addresses
	Batch     []string          // names of all machines that are asked for together
	HourlyUSD float64           // filled in by Check
}

// Driver makes machines. Every call may be repeated: what is there already is
// left as it is, and what is gone already is not an error.
type Driver interface {
	// Check fails with one clear line where the driver cannot make these: no
	// engine, no token, no such image. It returns them with what they leave to
	// the driver and their price filled in, and makes nothing that costs anything.
	Check(ctx context.Context, specs []Spec) ([]Spec, error)
	// Create makes a batch of one environment and returns once all of them
	// are started; what they share (key, network) is made once.
	Create(ctx context.Context, specs []Spec) ([]Machine, error)
	// List asks the provider, by label or tag. An empty name is every
	// environment. It fails with ErrAbsent where the driver cannot have any.
	List(ctx context.Context, env string) ([]Machine, error)
	Start(ctx context.Context, machines []Machine) error
	Stop(ctx context.Context, machines []Machine) error
	// Delete returns when the provider confirms that they are gone.
	Delete(ctx context.Context, machines []Machine) error
	// Purge removes all that is left of an environment, machines included,
	// and fails with what remains.
	Purge(ctx context.Context, env string) error
}

// Admitter is a Driver that has a way of its own into a machine, so that its
// host key needs no trust on first use.
type Admitter interface {
	// Admit authorizes skep's key on the running machine and reads its host key.
	Admit(ctx context.Context, m Machine) (ssh.PublicKey, error)
}

// Settler is a Driver whose machines go on with their first boot for a while
// after they have begun to answer SSH.
type Settler interface {
	// Settle returns when the first boot of the machine is over; at once where it
	// is long since. It fails with ErrBoot where it went wrong.
	Settle(ctx context.Context, conn *tunnel.Conn) error
}

// Lender is a Driver of machines that were there before, which it gives back.
type Lender interface {
	// Abandon forgets machines that cannot be given back in order.
	Abandon(ctx context.Context, machines []Machine) error
}

// Number is the n of <env>-<role>-<n>, or 0 for a name of another form.
func (m Machine) Number() int {
	digits, ours := strings.CutPrefix(m.Name, m.Env+"-"+string(m.Role)+"-")
	n, err := strconv.ParseUint(digits, 10, 31)
	if !ours || err != nil {
		return 0
	}
	return int(n)
}

// Sort puts machines in the order of environment, managers first, number.
func Sort(machines []Machine) {
	slices.SortFunc(machines, func(a, b Machine) int {
		return cmp.Or(cmp.Compare(a.Env, b.Env), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Number(), b.Number()))
	})
}

// ErrBoot is a machine that will not come up however long one waits.
var ErrBoot = errors.New("it does not boot")

// Lent says whether the machine was there before its environment, and outlives it.
func (m Machine) Lent() bool { return m.Host != "" }

// Private says whether an address is one that only those of its own network
// reach, behind a carrier's NAT (RFC 6598) among them.
func Private(ip netip.Addr) bool {
	return ip.IsPrivate() || netip.MustParsePrefix("100.64.0.0/10").Contains(ip)
}

// ErrAbsent is a driver that has nothing to work with here: no credentials, no
// tool, no engine. It has made nothing from here, and is asked for nothing.
var ErrAbsent = errors.New("not set up here")

// ErrRefused is a Create that ended before it made anything: there is nothing
// to take back.
var ErrRefused = errors.New("nothing was made")

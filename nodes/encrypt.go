package nodes

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"skep/providers"
	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
)

// encryption is whether overlay networks are to be encrypted, as far as that is
// known before nodes are asked for ESP.
type encryption struct {
	needed bool // a node without ESP is refused
	wanted bool // a node without ESP means that nothing is
}

// encrypts decides for an environment of those members. What it is once is kept:
// its networks are made so. By itself skep encrypts what leaves this computer.
func encrypts(env string, members []api.Node, asked *bool, remote bool) (encryption, error) {
	old := slices.ContainsFunc(members, func(n api.Node) bool { return n.Spec.Labels[swarm.LabelDriver] != "" })
	is := swarm.PathOf(members).Encrypt
	switch {
	case old && is && asked != nil && !*asked:
		return encryption{}, fmt.Errorf("the overlay networks of %s are encrypted already: leave --no-encrypt out", env)
	case old && !is && asked != nil && *asked:
		return encryption{}, fmt.Errorf("the overlay networks of %s are not encrypted, and those that there are stay so: leave --encrypt out, or make a new environment with it", env)
	case old:
		return encryption{needed: is}, nil
	case asked != nil:
		return encryption{needed: *asked}, nil
	}
	return encryption{wanted: remote}, nil
}

// decide looks at what the environment is already. Without a manager there is
// nothing of it.
func (e *Environment) decide(ctx context.Context, manager *swarm.Engine, asked *bool, remote bool) (encryption, error) {
	if manager == nil {
		return encrypts(e.Name, nil, asked, remote)
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return encryption{}, err
	}
	return encrypts(e.Name, members, asked, remote)
}

// mayEncrypt refuses what cannot be, before anything is made.
func (e *Environment) mayEncrypt(ctx context.Context, manager *swarm.Engine, asked *bool) error {
	_, err := e.decide(ctx, manager, asked, false)
	return err
}

// checkESP refuses a machine without ESP where it is needed, and notes it where
// it is wanted.
func (f *forming) checkESP(ctx context.Context, m providers.Machine, engine *swarm.Engine) error {
	if !f.encryption.needed && !f.encryption.wanted {
		return nil
	}
	has, why, err := engine.HasESP(ctx)
	if err != nil || has {
		return err
	}
	if f.encryption.needed {
		return fmt.Errorf("the kernel of %s has no ESP, which encrypted overlay networks need: %s", m.Name, why)
	}
	f.lacking.Lock()
	defer f.lacking.Unlock()
	f.lacks = append(f.lacks, m.Name)
	return nil
}

// encrypted is what came of it, once every machine was asked.
func (f *forming) encrypted() bool {
	if f.encryption.wanted && len(f.lacks) > 0 {
		slices.Sort(f.lacks)
		f.env.Log.Warn("overlay networks are not encrypted: there is no ESP in the kernel of " + strings.Join(f.lacks, ", "))
	}
	return f.encryption.needed || f.encryption.wanted && len(f.lacks) == 0
}

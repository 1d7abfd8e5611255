package services

import (
	"context"
	"errors"
	"fmt"
	"time"

	"skep/swarm"

	"github.com/docker/docker/api/types/registry"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// registryTimeout bounds the look-up of an image that nobody here has: without
// a network it would hang on DNS.
const registryTimeout = 30 * time.Second

// fromRegistry finds the image in the registry that its name says, as the user
// whom this computer's docker is logged in as.
func (x Executor) fromRegistry(ctx context.Context, manager *swarm.Engine, ref string) (holding, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, registryTimeout, errors.New("no answer within "+registryTimeout.String()))
	defer cancel()
	auth, err := credentials(ctx, ref)
	if err != nil {
		x.Log.Warn("asking for image "+ref+" as nobody", "error", err)
	}
	pinned, platforms, err := manager.Pin(ctx, ref, auth)
	if err != nil {
		return holding{}, fmt.Errorf("image %s is neither on this computer's engine nor on a node, and no registry gives it: %w", ref, err)
	}
	return holding{id: pinned, auth: auth, platforms: platforms}, nil
}

// credentials are the user's for an image's registry, as engines take them, ""
// where there are none.
func credentials(ctx context.Context, image string) (string, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return "", nil // the engine says what is wrong with it
	}
	who, err := authn.Resolve(ctx, authn.DefaultKeychain, ref.Context())
	if err != nil || who == authn.Anonymous {
		return "", err
	}
	c, err := authn.Authorization(ctx, who)
	if err != nil {
		return "", err
	}
	return registry.EncodeAuthConfig(registry.AuthConfig{
		Username: c.Username, Password: c.Password, Auth: c.Auth, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
		ServerAddress: ref.Context().RegistryStr(),
	})
}

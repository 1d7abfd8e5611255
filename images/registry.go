package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"skep/usage"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// CheckName refuses what is not the name of an image with a tag.
func CheckName(image string) error {
	if _, err := name.NewTag(image); err != nil {
		return usage.Errorf("%q is not the name of an image: use NAME:TAG, with a registry in front where it is to be pushed", image)
	}
	return nil
}

// pull reads an image of a registry, for one platform.
func pull(ctx context.Context, image string, p v1.Platform) (v1.Image, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, usage.Errorf("%q is not the name of an image", image)
	}
	found, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithPlatform(p))
	if err != nil {
		return nil, fmt.Errorf("read %s for %s: %w", image, p, explain(err))
	}
	return found, nil
}

// Labels are what an image of a registry says of itself.
func Labels(ctx context.Context, image string, p v1.Platform) (map[string]string, error) {
	found, err := pull(ctx, image, p)
	if err != nil {
		return nil, err
	}
	file, err := found.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read %s for %s: %w", image, p, explain(err))
	}
	return file.Config.Labels, nil
}

// Push sends the image to the registry that its name says, with the user's
// docker credentials, and returns the name with the digest.
func Push(ctx context.Context, image string, b Built) (string, error) {
	ref, err := name.NewTag(image)
	if err != nil {
		return "", CheckName(image)
	}
	// Not with its progress: that panics where a push is broken off.
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	if len(b.Images) == 1 {
		err = remote.Write(ref, b.Images[0].Image, options...)
	} else {
		err = remote.WriteIndex(ref, b.Index(), options...)
	}
	if err != nil {
		return "", fmt.Errorf("push %s to %s: %w", image, ref.RegistryStr(), explain(err))
	}
	digest, err := b.Digest()
	if err != nil {
		return "", err
	}
	return ref.Context().Name() + "@" + digest.String(), nil
}

// explain says what to do about a login that is refused.
func explain(err error) error {
	var refused *transport.Error
	if errors.As(err, &refused) && (refused.StatusCode == http.StatusUnauthorized || refused.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("%w\n`docker login` says who you are", err)
	}
	return err
}

// fullName is the name with its registry, as containerd has it.
func fullName(image string) string {
	tag, err := name.NewTag(image)
	if err != nil {
		return image
	}
	full := tag.Name()
	if rest, ok := strings.CutPrefix(full, "index.docker.io/"); ok {
		full = "docker.io/" + rest
	}
	return full
}

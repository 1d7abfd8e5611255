package digitalocean

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"skep/tunnel"
	"skep/usage"

	"github.com/digitalocean/godo"
	"golang.org/x/crypto/ssh"
)

// keyPrefix and its own fingerprint are the name of a key that skep has put
// into the account, so that it knows its own from any computer.
const keyPrefix = "skep-"

func keyName(fingerprint string) string {
	return keyPrefix + strings.ReplaceAll(fingerprint, ":", "")
}

func (d *Driver) keyFile(s settings) string { return cmp.Or(s.keyPath, d.Key) }

// publicKey is the key that droplets admit, and its fingerprint in the form
// that the API knows keys by.
func (d *Driver) publicKey(s settings) (line, fingerprint string, err error) {
	if s.keyPath != "" {
		if _, err := os.Stat(s.keyPath); err != nil {
			return "", "", usage.Errorf("DIGITALOCEAN_SSH_KEY_PATH: %v", err)
		}
	}
	line, err = tunnel.EnsureKey(d.keyFile(s))
	if err != nil {
		return "", "", err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return "", "", err
	}
	return line, ssh.FingerprintLegacyMD5(key), nil
}

// accountKeys sees to it that the account has the key and returns those that
// new droplets admit.
func (d *Driver) accountKeys(ctx context.Context, api *godo.Client, s settings) ([]godo.DropletCreateSSHKey, error) {
	line, fingerprint, err := d.publicKey(s)
	if err != nil {
		return nil, err
	}
	if err := d.ensureKey(ctx, api, line, fingerprint); err != nil {
		return nil, err
	}
	keys := []godo.DropletCreateSSHKey{{Fingerprint: fingerprint}}
	if s.fingerprint != "" && s.fingerprint != fingerprint {
		_, _, err := api.Keys.GetByFingerprint(ctx, s.fingerprint)
		if status(err) == http.StatusNotFound {
			return nil, fmt.Errorf("the account at DigitalOcean has no SSH key with DIGITALOCEAN_SSH_KEY_FINGERPRINT %s", s.fingerprint)
		}
		if err != nil {
			return nil, explain(ctx, "look for an SSH key", err)
		}
		keys = append(keys, godo.DropletCreateSSHKey{Fingerprint: s.fingerprint})
	}
	return keys, nil
}

// ensureKey takes a key that is in the account already, under whatever name.
func (d *Driver) ensureKey(ctx context.Context, api *godo.Client, line, fingerprint string) error {
	for try := 1; ; try++ {
		_, _, err := api.Keys.GetByFingerprint(ctx, fingerprint)
		if err == nil {
			return nil
		}
		if status(err) != http.StatusNotFound {
			return explain(ctx, "look for skep's SSH key", err)
		}
		_, _, err = api.Keys.Create(ctx, &godo.KeyCreateRequest{Name: keyName(fingerprint), PublicKey: line})
		if err == nil {
			return nil
		}
		// In use already: somebody was faster, or the first try got through.
		if status(err) != http.StatusUnprocessableEntity || try == mostTries {
			return explain(ctx, "add skep's SSH key", err)
		}
		if err := pause(ctx, d.times().retry); err != nil {
			return err
		}
	}
}

// removeKeys removes skep's keys from the account, whichever computer they are
// of. The caller knows that no environment is left.
func (d *Driver) removeKeys(ctx context.Context, api *godo.Client) error {
	keys, err := pages(func(o *godo.ListOptions) ([]godo.Key, *godo.Response, error) { return api.Keys.List(ctx, o) })
	if err != nil {
		return explain(ctx, "list SSH keys", err)
	}
	var errs []error
	for _, key := range keys {
		if key.Name != keyName(key.Fingerprint) {
			continue
		}
		if _, err := api.Keys.DeleteByID(ctx, key.ID); err != nil && status(err) != http.StatusNotFound {
			errs = append(errs, explain(ctx, "remove SSH key "+key.Name, err))
		}
	}
	return errors.Join(errs...)
}

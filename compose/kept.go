package compose

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
	api "github.com/docker/docker/api/types/swarm"
)

// mostKept is how much a swarm of the oldest engines keeps of one secret or
// config: 500 KB.
const mostKept = 500 << 10

// keep reads the contents of the secrets and configs that services use.
func (b *builder) keep() error {
	b.kept = map[string]string{}
	for _, s := range b.project.Services {
		for _, r := range s.Secrets {
			if err := b.keepOne("secret", r.Source, types.FileObjectConfig(b.project.Secrets[r.Source])); err != nil {
				return err
			}
		}
		for _, r := range s.Configs {
			if err := b.keepOne("config", r.Source, types.FileObjectConfig(b.project.Configs[r.Source])); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(b.stack.Kept, func(x, y Kept) int { return cmp.Compare(x.Name, y.Name) })
	return nil
}

func (b *builder) keepOne(kind, source string, from types.FileObjectConfig) error {
	key := kind + " " + source
	if b.kept[key] != "" {
		return nil
	}
	if from.External {
		b.kept[key] = cmp.Or(from.Name, source)
		return nil
	}
	if from.Driver != "" || from.TemplateDriver != "" {
		return fmt.Errorf("%s: drivers are not supported", key)
	}
	content, err := b.content(key, from)
	if err != nil {
		return err
	}
	if len(content) == 0 || len(content) > mostKept {
		return fmt.Errorf("%s has %d bytes: a swarm keeps from 1 to %d", key, len(content), mostKept)
	}
	sum := sha256.Sum256(content)
	name := b.scoped(source) + "_" + hex.EncodeToString(sum[:5])
	b.kept[key] = name
	b.stack.Kept = append(b.stack.Kept, Kept{Name: name, Secret: kind == "secret", Content: content, Labels: b.labels(from.Labels)})
	return nil
}

func (b *builder) content(key string, from types.FileObjectConfig) ([]byte, error) {
	switch {
	case from.File != "":
		file := from.File
		if !filepath.IsAbs(file) {
			file = filepath.Join(b.project.WorkingDir, file)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		return content, nil
	case from.Environment != "":
		value, set := b.project.Environment[from.Environment]
		if !set {
			return nil, fmt.Errorf("%s: the variable %s is not set", key, from.Environment)
		}
		return []byte(value), nil
	}
	return []byte(from.Content), nil
}

// references name what a service uses of what is kept; the ids come later.
func (b *builder) references(s types.ServiceConfig, c *api.ContainerSpec) {
	for _, r := range s.Secrets {
		uid, gid, mode := owner(types.FileReferenceConfig(r))
		c.Secrets = append(c.Secrets, &api.SecretReference{
			SecretName: b.kept["secret "+r.Source],
			File:       &api.SecretReferenceFileTarget{Name: cmp.Or(r.Target, r.Source), UID: uid, GID: gid, Mode: mode},
		})
	}
	for _, r := range s.Configs {
		uid, gid, mode := owner(types.FileReferenceConfig(r))
		c.Configs = append(c.Configs, &api.ConfigReference{
			ConfigName: b.kept["config "+r.Source],
			File:       &api.ConfigReferenceFileTarget{Name: cmp.Or(r.Target, "/"+r.Source), UID: uid, GID: gid, Mode: mode},
		})
	}
	slices.SortFunc(c.Secrets, func(x, y *api.SecretReference) int { return cmp.Compare(x.File.Name, y.File.Name) })
	slices.SortFunc(c.Configs, func(x, y *api.ConfigReference) int { return cmp.Compare(x.File.Name, y.File.Name) })
}

func owner(r types.FileReferenceConfig) (uid, gid string, mode os.FileMode) {
	mode = 0o444
	if r.Mode != nil {
		mode = os.FileMode(*r.Mode & 0o7777) // #nosec G115 -- twelve bits
	}
	return cmp.Or(r.UID, "0"), cmp.Or(r.GID, "0"), mode
}

// sortedCopy is a map's pairs as K=V, in order.
func sortedCopy(m map[string]*string) []string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if m[k] != nil { // one without a value is not set here, either
			all = append(all, k+"="+*m[k])
		}
	}
	return all
}

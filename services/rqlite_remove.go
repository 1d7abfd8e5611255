package services

import (
	"context"
	"regexp"
	"slices"
)

// RqliteStack is the name of a cluster's stack.
func RqliteStack(name string) string { return RqliteCluster{Name: name}.stack() }

// OfRqlite says whether a service is one of the cluster.
func OfRqlite(name, service string) bool {
	c := RqliteCluster{Name: name}
	if service == c.service() || service == c.reader() || service == c.dns() {
		return true
	}
	prefix := c.voter(0)
	return regexp.MustCompile(`^` + regexp.QuoteMeta(prefix[:len(prefix)-1]) + `[0-9]+$`).MatchString(service)
}

// RqlitePage is the service whose page `open` opens.
func (x Executor) RqlitePage(ctx context.Context, name string) (string, error) {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return "", err
	}
	c := RqliteCluster{Name: name}
	existing, err := manager.StackServices(ctx, c.stack())
	if err != nil {
		return "", err
	}
	if slices.Contains(existing, c.voter(1)) {
		return c.voter(1), nil
	}
	return c.service(), nil
}

// RemoveRqlite removes a cluster. With its data gone, its nodes are as good as
// any others for the next.
func (x Executor) RemoveRqlite(ctx context.Context, name string, volumes bool) error {
	c := RqliteCluster{Name: name}
	if err := x.Remove(ctx, c.stack(), volumes); err != nil || !volumes {
		return err
	}
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return err
	}
	members, err := manager.Members(ctx)
	if err != nil {
		return err
	}
	for _, n := range members {
		for _, mode := range RqliteModes() {
			c.Mode = mode
			for _, label := range []string{c.label(), c.keyLabel()} {
				if n.Spec.Labels[label] == "" {
					continue
				}
				if err := manager.Unlabel(ctx, n.ID, label); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

//go:build !linux

package docker

import "net/netip"

// routes: elsewhere the engine runs in a VM with networks of its own.
func routes() []netip.Prefix { return nil }

// Package e2e runs the skep binary against real Docker engines: real nodes,
// swarms, overlays, SSH and databases. It holds tests only; `make e2e` builds
// what they need.
package e2e

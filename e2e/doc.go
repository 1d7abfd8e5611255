// Package e2e runs the skep binary against real Docker engines: real nodes,
// swarms, overlays, SSH and databases. It holds tests only; `make e2e` builds
// what they need.
//
// Tests that mostly wait run three at a time, after all others; those that measure
// how long something takes to heal have the machine to themselves.
package e2e

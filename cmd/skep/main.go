// Command skep turns a name into machines, a Docker swarm on them, a clustered
// database and an app, and back into nothing.
package main

import (
	"os"

	"skep/cmd"
)

func main() {
	os.Exit(cmd.Main(os.Args[1:], cmd.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

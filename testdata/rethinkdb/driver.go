package main

import (
	"context"
	"io"
	"net"
)

// serveDrivers takes connections on the driver port and, for now, says nothing on them.
func serveDrivers(ctx context.Context, listeners []net.Listener) {
	for _, listener := range listeners {
		go accept(ctx, listener, func(conn net.Conn) {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			_, _ = io.Copy(io.Discard, conn) // ends when the client goes
		})
	}
}

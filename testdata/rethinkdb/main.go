// Command rethinkdb stands in for a RethinkDB 2.4 server in tests, where the real image cannot be had. What it must
// get right is how a cluster forms, breaks and heals, because that is what a deployment lives or dies by: the command
// line, the data directory, which ports open when, who finds whom over which addresses. It stores no documents.
//
// The behaviour is that of the real server, from running version 2.4.4 and from reading the sources of the 2.x line
// (clustering/administration/main, rpc/connectivity); the wire format between servers is its own. Where the real one
// does something worth a surprise, the comment says so. Left out: proxies and the other subcommands, TLS, the crash of
// a server whose peer returns to its only canonical address as another server (here it gives that peer up), and the
// exchange of passwords, of which servers tell each other only whether they have one.
//
// It uses the standard library alone and knows nothing of skep.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const version = "rethinkdb 2.4.4 (stand-in)"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rethinkdb:", err)
		stop()
		os.Exit(1)
	}
}

// errStoppedJoining ends a server that was told to stop before it found a peer. The real one exits 1 then, not 0.
var errStoppedJoining = errors.New("stopped before it reached any server of the cluster")

func run(ctx context.Context, args []string, stdout io.Writer) error {
	options, err := parseOptions(args)
	if err != nil {
		return err
	}
	switch {
	case options.has("--version"):
		_, err := fmt.Fprintln(stdout, version)
		return err
	case options.has("--help"):
		_, err := fmt.Fprint(stdout, usage())
		return err
	}
	logger := log.New(stdout, "", 0)
	config, err := newConfig(options)
	if err != nil {
		return err
	}
	if config.generated {
		logger.Printf("Generated random admin password: %s", config.password)
	}
	store, err := openStore(config, logger)
	if err != nil {
		return err
	}
	defer store.close()
	return serve(ctx, config, store, logger)
}

// serve opens the ports in the order of the real server: the cluster port at once, so that servers that join each other
// meet while both still wait; the driver and HTTP ports only when the join is over.
func serve(ctx context.Context, config *config, store *store, logger *log.Logger) error {
	logger.Printf("Running %s...", version)
	logger.Printf("Loading data from directory %s", store.dir)
	// Names are looked up here and never again. One that does not resolve ends the server, its new directory kept.
	joins, err := lookUpAll(ctx, config.joins)
	if err != nil {
		return err
	}

	listeners, err := listen(ctx, config.clusterBind, config.clusterPort)
	if err != nil {
		return fmt.Errorf("could not bind to cluster port: %w", err)
	}
	mesh := newMesh(config, store, logger)
	if err := mesh.advertise(ctx); err != nil {
		return fmt.Errorf("--canonical-address: %w", err)
	}
	join := newInitialJoin(mesh, joins)
	mesh.start(ctx, listeners)
	logger.Printf("Listening for intracluster connections on port %d", config.clusterPort)

	if len(config.joins) > 0 {
		if join.run(ctx); ctx.Err() != nil {
			return errStoppedJoining
		}
	}
	if err := serveClients(ctx, config, mesh, logger); err != nil {
		return err
	}
	self := store.identity()
	logger.Printf("Server ready, %q %s", self.Name, self.ServerID)
	<-ctx.Done()
	logger.Print("Server got a signal; shutting down...")
	return nil
}

func serveClients(ctx context.Context, config *config, mesh *mesh, logger *log.Logger) error {
	drivers, err := listen(ctx, config.driverBind, config.driverPort)
	if err != nil {
		return fmt.Errorf("could not bind to driver port: %w", err)
	}
	serveDrivers(ctx, drivers)
	logger.Printf("Listening for client driver connections on port %d", config.driverPort)
	if config.noHTTP {
		logger.Print("Administrative HTTP connections are disabled.")
		return nil
	}
	pages, err := listen(ctx, config.httpBind, config.httpPort)
	if err != nil {
		return fmt.Errorf("could not bind to http port: %w", err)
	}
	serveWeb(ctx, pages, mesh)
	logger.Printf("Listening for administrative HTTP connections on port %d", config.httpPort)
	return nil
}

// accept hands every connection to handle, in its own goroutine, until ctx is done.
func accept(ctx context.Context, listener net.Listener, handle func(net.Conn)) {
	context.AfterFunc(ctx, func() { listener.Close() })
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of files, or a peer that left before it was served: neither ends a server
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go handle(conn)
	}
}

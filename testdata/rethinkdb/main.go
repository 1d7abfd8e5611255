// Command rethinkdb stands in for a RethinkDB 2.4 server in tests, where the real image cannot be had. How a cluster
// forms, breaks and heals, which ports open when and who finds whom over which addresses, is that of the real server, from
// running version 2.4.4 and from reading the sources of the 2.x line; the wire format between servers is its own. Drivers
// speak to it as to the real one, and what they write is stored and replicated in earnest: an acknowledged write is on
// the disks of a majority of its table's servers. Where the real server does something worth a surprise, the comment
// says so.
//
// It is simpler than the real server in these points:
//
//   - Of ReQL it knows what the functions terms and only name; it refuses all else with a compile error that says so.
//     Functions are among the refused, except where they define an index, and indexes are listed but not read by.
//   - The shards of a table are a matter of its configuration. Its documents are led by one server at a time, and every
//     server of any shard has all of them.
//   - A reconfiguration returns when it is done. Soft durability and single acknowledgements are as good as hard ones
//     and a majority's. The cluster's metadata is told to all who are connected: of two changes at one moment in
//     different places one is lost.
//   - All data is in memory too, and the file that it is kept in is made smaller only at a start. Deleted documents leave
//     a trace that is never removed, and a server keeps its copy of a table that was moved away from it.
//   - There is one user, admin, with all rights. There are no change feeds, write hooks, statistics, jobs and logs.
//   - Left out are proxies and the other subcommands, and the crash of a server whose peer returns to its only canonical
//     address as another server (here it gives that peer up).
//
// It uses the official driver's protocol constants and else the standard library, and knows nothing of skep.
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

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
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
	defer func() { err = errors.Join(err, store.close()) }()
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
	mesh.start(ctx, config.clusterTLS.listeners(listeners))
	go mesh.groups.run(ctx)
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
	serveDrivers(ctx, config.driverTLS.listeners(drivers), mesh)
	logger.Printf("Listening for client driver connections on port %d", config.driverPort)
	if config.noHTTP {
		logger.Print("Administrative HTTP connections are disabled.")
		return nil
	}
	pages, err := listen(ctx, config.httpBind, config.httpPort)
	if err != nil {
		return fmt.Errorf("could not bind to http port: %w", err)
	}
	serveWeb(ctx, config.httpTLS.listeners(pages), mesh)
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

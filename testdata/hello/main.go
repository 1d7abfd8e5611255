// Command hello is the sample app that the tests deploy: it greets the path it is asked for and passes on a line from
// the database, so a test sees at once which release answers, from which container, and whether its database is there.
//
//	GET /healthz     200 while it serves
//	GET /readyz      200 while the database answers too, else 503
//	GET /whoami      the host name, in a container its id or what --hostname says
//	GET /…           Hello, "/…", and on a second line the text of the table hello, or why there is none
//	PUT /docs/{id}   keeps the body in the table docs: 200 when the database has acknowledged it, else 503
//	GET /docs/{id}   the body that is kept, or 404
//	GET /docs        the ids of all that is kept, one a line
//
// ADDR (or -addr) is where it listens, GREETING the word instead of Hello. The database is rqlite at RQLITE_URL, which has
// no docs, or RethinkDB if RETHINKDB_ADDRESSES is set:
//
//	RETHINKDB_ADDRESSES       host[:port],…; each name may mean several servers
//	RETHINKDB_DATABASE        where the tables hello and docs are, test by default; it makes neither
//	RETHINKDB_PASSWORD_FILE   the password of admin, such as a secret that is mounted
//	RETHINKDB_CA_FILE         the authority of the servers' certificates; without it the connection is not encrypted
//	RETHINKDB_SERVER_NAME     the name in these certificates, if it is not the host's
//	RETHINKDB_CERT_FILE, RETHINKDB_KEY_FILE   its own certificate, if the servers ask for one
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// After SIGTERM it answers new connections for a while, as balancers hear of its going only then, and waits for requests
// that are under way. Docker kills ten seconds after the signal.
const (
	linger = 2 * time.Second
	drain  = 5 * time.Second
)

func main() {
	addr := flag.String("addr", env("ADDR", ":9090"), "address to listen on")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *addr); err != nil {
		slog.Error("hello", "error", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, addr string) error {
	greeting := env("GREETING", "Hello")
	if os.Getenv("RETHINKDB_ADDRESSES") == "" {
		return serve(ctx, addr, newHandler(greeting, &rqlite{url: os.Getenv("RQLITE_URL")}))
	}
	db, err := newRethink(os.Getenv)
	if err != nil {
		return err
	}
	defer db.close()
	mux := http.NewServeMux()
	mux.Handle("/", newHandler(greeting, db))
	addDocs(mux, db)
	return serve(ctx, addr, mux)
}

func env(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

// patience is how long a request waits for the database before it says that it is away.
const patience = 5 * time.Second

// database is what has the line.
type database interface {
	text(ctx context.Context) (string, error)
}

func newHandler(greeting string, db database) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		if _, err := db.text(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /whoami", func(w http.ResponseWriter, _ *http.Request) {
		name, err := os.Hostname()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, name)
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		slog.Info("hello", "path", r.URL.Path, "from", r.RemoteAddr)
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		line, err := db.text(ctx)
		if err != nil {
			line = "database: " + err.Error()
		}
		fmt.Fprintf(w, "%s, %q\n%s\n", greeting, r.URL.Path, line)
	})
	return mux
}

// serve answers until ctx is done and balancers know it, then takes no more connections and waits for the requests under
// way.
func serve(ctx context.Context, addr string, handler http.Handler) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	slog.Info("hello listens", "addr", listener.Addr().String())

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	slog.Info("hello stops")
	server.SetKeepAlivesEnabled(false) // who has a connection makes the next one, elsewhere
	select {
	case err := <-failed:
		return err
	case <-time.After(linger):
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		return errors.Join(fmt.Errorf("requests still under way after %s: %w", drain, err), server.Close())
	}
	return nil
}

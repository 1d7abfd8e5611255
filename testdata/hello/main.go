// Command hello is the sample app that the tests deploy: it greets the path it is asked for and passes on a line from
// the database, so a test sees at once which release answers, from which container, and whether its database is there.
//
//	GET /healthz   200 while it serves
//	GET /whoami    the host name, in a container its id or what --hostname says
//	GET /…         Hello, "/…", and on a second line the text of the table hello, or why there is none
//
// ADDR (or -addr) is where it listens, GREETING the word instead of Hello, RQLITE_URL the database.
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

// drain is how long requests that are under way may take after SIGTERM. Docker kills ten seconds after the signal.
const drain = 5 * time.Second

func main() {
	addr := flag.String("addr", env("ADDR", ":9090"), "address to listen on")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	handler := newHandler(env("GREETING", "Hello"), &database{url: os.Getenv("RQLITE_URL")})
	if err := serve(ctx, *addr, handler); err != nil {
		slog.Error("hello", "error", err)
		os.Exit(1)
	}
}

func env(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

func newHandler(greeting string, db *database) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
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
		line, err := db.text(r.Context())
		if err != nil {
			line = "database: " + err.Error()
		}
		fmt.Fprintf(w, "%s, %q\n%s\n", greeting, r.URL.Path, line)
	})
	return mux
}

// serve answers until ctx is done, then takes no more connections and waits for the requests under way.
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
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		return errors.Join(fmt.Errorf("requests still under way after %s: %w", drain, err), server.Close())
	}
	return nil
}

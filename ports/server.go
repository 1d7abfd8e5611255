package ports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"skep/home"
)

const (
	// How long a new process waits for its first tunnel: the client that
	// started it may have been killed in between.
	firstOpenTimeout = time.Minute
	shutdownTimeout  = 5 * time.Second
)

// Serve is the background process of an environment: it holds the tunnels that
// clients ask for. Those that were open when the process before it was killed, or the
// machine rebooted, it opens again. It returns nil when the last of them is closed or ctx is
// done, with its socket removed. Tunnels that end with ctx stay in the table
// as open, so that users see after a reboot what they had.
func Serve(ctx context.Context, dir home.Dir, env string, d Dialer, log *slog.Logger) error {
	if err := serve(ctx, dir, env, d, log, firstOpenTimeout); err != nil {
		return fmt.Errorf("serve the tunnels of %s: %w", env, err)
	}
	return nil
}

func serve(ctx context.Context, dir home.Dir, env string, d Dialer, log *slog.Logger, patience time.Duration) (err error) {
	if err := dir.Make(); err != nil {
		return err
	}
	p := process{dir, env}
	release, err := p.hold(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	ln, err := p.listen(ctx)
	if err != nil {
		return err
	}
	s := &server{
		env: env, table: tableFile(dir.TunnelTable()), dialer: d, log: log,
		held: map[target]*held{}, ended: make(chan struct{}),
	}
	defer s.closeAll()
	s.restore(ctx)
	return s.run(ctx, ln, patience)
}

// listen listens for clients. The caller holds the alive lock: a socket that is
// there already is that of a process that was killed.
func (p process) listen(ctx context.Context) (net.Listener, error) {
	if err := p.checkSocketPath(); err != nil {
		return nil, err
	}
	if err := remove(p.socket()); err != nil {
		return nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", p.socket())
	if err != nil {
		return nil, err
	}
	if err := restrict(p.socket()); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// server is the state of a Serve.
type server struct {
	env    string
	table  tableFile
	dialer Dialer
	log    *slog.Logger

	mu      sync.Mutex
	held    map[target]*held
	opening int           // opens under way; they keep the process alive
	ending  bool          // no more opens
	ended   chan struct{} // closed once ending
}

// run answers clients on ln until the server ends or ctx is done.
func (s *server) run(ctx context.Context, ln net.Listener, patience time.Duration) error {
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	api := &http.Server{
		Handler:           s.routes(),
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: answerTimeout,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	stopped := make(chan error, 1)
	go func() { stopped <- api.Serve(ln) }()
	first := time.AfterFunc(patience, s.endIfIdle)
	defer first.Stop()
	s.log.Info("tunnel process started", "env", s.env, "pid", os.Getpid())

	select {
	case <-ctx.Done():
	case <-s.ended:
	case err := <-stopped:
		return errors.Join(fmt.Errorf("listen for clients: %w", err), api.Close())
	}
	cancel() // ends the opens under way
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer done()
	if api.Shutdown(grace) != nil {
		_ = api.Close()
	}
	<-stopped
	s.log.Info("tunnel process ends", "env", s.env, "pid", os.Getpid())
	return nil
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /tunnels", func(w http.ResponseWriter, r *http.Request) {
		all := s.list()
		if r.URL.Query().Get("check") != "" {
			s.check(r.Context(), all)
		}
		s.answer(w, all, nil)
	})
	mux.HandleFunc("POST /tunnels", func(w http.ResponseWriter, r *http.Request) {
		var o openRequest
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			s.answer(w, nil, fmt.Errorf("read the request: %w", err))
			return
		}
		t, err := s.open(r.Context(), o)
		s.answer(w, []Tunnel{t}, err)
	})
	mux.HandleFunc("DELETE /tunnels", func(w http.ResponseWriter, r *http.Request) {
		port, err := strconv.Atoi(r.URL.Query().Get("port"))
		if err != nil {
			s.answer(w, nil, fmt.Errorf("read the request: %w", err))
			return
		}
		closed, err := s.close(r.Context(), selection{r.URL.Query().Get("service"), port})
		s.answer(w, closed, err)
	})
	return mux
}

func (s *server) answer(w http.ResponseWriter, tunnels []Tunnel, err error) {
	s.mu.Lock()
	r := reply{PID: os.Getpid(), Ending: s.ending, Tunnels: tunnels}
	s.mu.Unlock()
	status := http.StatusOK
	if err != nil {
		r.Error = err.Error()
		status = http.StatusUnprocessableEntity
	}
	if errors.Is(err, errEnding) {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(r); err != nil {
		s.log.Warn("a client hung up on its answer", "error", err)
	}
}

package discovery

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"skep/usage"
)

// Server is the service as it is set up.
type Server struct {
	Addr      string // to listen on
	File      string // that keeps the ids
	Cert, Key string // files; both or none
	Limits    Limits
	Rate      int // requests a second and client; 0 is no limit
	Log       *slog.Logger
	// Listening is told the address once requests are taken.
	Listening func(net.Addr)
}

const (
	readTimeout  = 10 * time.Second
	idleTimeout  = 2 * time.Minute
	maxHeader    = 16 << 10
	shutdownTime = 10 * time.Second
	sweepEvery   = time.Hour
)

// Run serves until ctx ends, then finishes the requests that it has begun.
func (s Server) Run(ctx context.Context) (err error) {
	if (s.Cert == "") != (s.Key == "") {
		return usage.Errorf("--cert and --key go together")
	}
	if s.Rate < 0 || s.Limits.Addresses < 0 || s.Limits.ClientIDs < 0 || s.Limits.IDs < 0 || s.Limits.Idle < 0 {
		return usage.Errorf("a limit cannot be negative: 0 is none")
	}
	store, err := openStore(s.File, s.Limits, time.Now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	listener, err := s.listen(ctx)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:     &handler{store: store, limiter: newLimiter(s.Rate, time.Now), metrics: newMetrics(), log: s.Log},
		ReadTimeout: readTimeout, WriteTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
	}
	sweeping, stop := context.WithCancel(ctx)
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		store.keepSweeping(sweeping, s.Log)
	}()
	defer func() {
		stop()
		<-swept
	}()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.Log.InfoContext(ctx, "listening", "address", listener.Addr().String(), "file", s.File, "tls", s.Cert != "")
	if s.Listening != nil {
		s.Listening(listener.Addr())
	}
	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", s.Addr, err)
	case <-ctx.Done():
	}
	s.Log.InfoContext(ctx, "stopping")
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return errors.Join(fmt.Errorf("finish the last requests: %w", err), server.Close())
	}
	return nil
}

func (s Server) listen(ctx context.Context) (net.Listener, error) {
	var config *tls.Config
	if s.Cert != "" {
		pair, err := tls.LoadX509KeyPair(s.Cert, s.Key)
		if err != nil {
			return nil, fmt.Errorf("read the certificate: %w", err)
		}
		config = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	}
	var plain net.ListenConfig
	listener, err := plain.Listen(ctx, "tcp", s.Addr)
	if err != nil || config == nil {
		return listener, err
	}
	return tls.NewListener(listener, config), nil
}

// keepSweeping deletes expired ids, at once and then every hour.
func (s *store) keepSweeping(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if n, err := s.sweep(); err != nil {
			log.ErrorContext(ctx, "delete expired ids", "error", err)
		} else if n > 0 {
			log.InfoContext(ctx, "deleted expired ids", "count", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

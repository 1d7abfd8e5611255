package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/template"
	"time"

	"skep/usage"
)

// Announcement is a command that is announced while it lives.
type Announcement struct {
	Client  Client
	Addr    string
	TTL     time.Duration
	Command []string
	// Join is a template of what the command is told of each peer, as
	// "--join {{.Host}}:29015": Host, Port and Addr are those of a registered
	// address. Peers that do not answer are left out.
	Join string
	// Port is where peers answer; "" is the port of their address.
	Port string
	// Start makes the command, not yet started.
	Start func(args, env []string) *exec.Cmd
	Log   *slog.Logger
}

const (
	minTTL = 3 * time.Second
	// lookEvery is how often peers are looked for, and lookTimeout how long one
	// may take to answer.
	lookEvery   = 500 * time.Millisecond
	lookTimeout = time.Second
	// patience is how long the service may be unreachable at the start.
	patience = time.Minute
	// placeholder in the command's arguments stands for what joins peers; without
	// one that is added at the end.
	placeholder = "{}"
	// PeersVariable tells the command its peers' addresses, space between them.
	PeersVariable = "SKEP_PEERS"
)

// ExitError is the end of a command that was no success.
type ExitError struct{ Code int }

func (e ExitError) Error() string { return fmt.Sprintf("the command ended with %d", e.Code) }

// Run announces, starts the command when its peers are known, renews the
// announcement until the command ends, and withdraws it then. A signal that ends
// ctx goes on to the command.
func (a Announcement) Run(ctx context.Context) (err error) {
	join, err := a.check()
	if err != nil {
		return err
	}
	if err := a.register(ctx); err != nil {
		return err
	}
	defer func() {
		ending := context.WithoutCancel(ctx)
		if _, e := a.Client.Withdraw(ending, a.Addr); e != nil {
			a.Log.WarnContext(ending, "not withdrawn, it will expire", "error", e)
		}
	}()
	renewing, stop := context.WithCancel(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		a.renew(renewing)
	}()
	defer func() {
		stop()
		<-renewed
	}()
	peers, err := a.peers(ctx)
	if err != nil {
		return err
	}
	args, env, err := a.arguments(join, peers)
	if err != nil {
		return err
	}
	a.Log.InfoContext(ctx, "starting", "command", args[0], "peers", len(peers))
	return a.run(ctx, args, env)
}

// check refuses what cannot work, before anything is announced.
func (a Announcement) check() (*template.Template, error) {
	if len(a.Command) == 0 {
		return nil, usage.Errorf("there is no command to run: skep discovery announce … -- COMMAND…")
	}
	self, err := ParseAddress(a.Addr)
	if err != nil {
		return nil, usage.Errorf("--addr: %v", err)
	}
	if a.Port == "" && self.Port == "" {
		return nil, usage.Errorf("--addr has no port to look for peers at: give --peer-port")
	}
	if a.TTL < minTTL || a.TTL > maxTTL*time.Second {
		return nil, usage.Errorf("--ttl is from %s to %s", minTTL, maxTTL*time.Second)
	}
	join, err := template.New("join").Option("missingkey=error").Parse(a.Join)
	if err == nil {
		_, err = words(join, self)
	}
	if err != nil {
		return nil, usage.Errorf("--join-format: %v", err)
	}
	return join, nil
}

// words are what the template makes of an address: cut at the spaces.
func words(join *template.Template, of Address) ([]string, error) {
	var text strings.Builder
	if err := join.Execute(&text, of); err != nil {
		return nil, err
	}
	return strings.Fields(text.String()), nil
}

func (a Announcement) register(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		_, err := a.Client.Register(ctx, a.Addr, a.TTL)
		var told *StatusError
		if err == nil || errors.As(err, &told) && told.Code < http.StatusInternalServerError && told.Code != http.StatusTooManyRequests {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("announce %s: %w", a.Addr, err)
		case <-tick.C:
		}
	}
}

// renew registers again and again, three times within a TTL.
func (a Announcement) renew(ctx context.Context) {
	tick := time.NewTicker(a.TTL / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := a.Client.Register(ctx, a.Addr, a.TTL); err != nil && ctx.Err() == nil {
			a.Log.WarnContext(ctx, "not renewed, trying again", "error", err)
		}
	}
}

// peers waits for one that answers, and tells all that do. The one that is
// first on the list waits for nobody: a cluster has to begin somewhere. One that
// is gone without a word is first no longer once its time is over.
func (a Announcement) peers(ctx context.Context) ([]Address, error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for waits := false; ; waits = true {
		answer, err := a.Client.List(ctx)
		var told *StatusError
		if errors.As(err, &told) && told.Code == http.StatusNotFound {
			return nil, err
		}
		if err == nil {
			peers := a.answering(ctx, answer.Nodes)
			if len(peers) > 0 || len(answer.Nodes) == 0 || answer.Nodes[0] == a.Addr {
				return peers, nil
			}
		}
		if !waits {
			a.Log.InfoContext(ctx, "waiting for a peer to answer")
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// answering are those of the addresses, its own left out, that can be connected
// to.
func (a Announcement) answering(ctx context.Context, nodes []string) []Address {
	found := make([]*Address, len(nodes))
	done := make(chan struct{}, len(nodes))
	for i, n := range nodes {
		go func() {
			defer func() { done <- struct{}{} }()
			peer, err := ParseAddress(n)
			if err != nil || n == a.Addr {
				return
			}
			port := peer.Port
			if a.Port != "" {
				port = a.Port
			}
			dialer := net.Dialer{Timeout: lookTimeout}
			if conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(peer.Host, port)); err == nil {
				_ = conn.Close()
				found[i] = &peer
			}
		}()
	}
	for range nodes {
		<-done
	}
	var peers []Address
	for _, p := range found {
		if p != nil {
			peers = append(peers, *p)
		}
	}
	return peers
}

func (a Announcement) arguments(join *template.Template, peers []Address) (args, env []string, err error) {
	var joins, addrs []string
	for _, p := range peers {
		w, err := words(join, p)
		if err != nil {
			return nil, nil, err
		}
		joins, addrs = append(joins, w...), append(addrs, p.Addr)
	}
	args = slices.Clone(a.Command)
	if i := slices.Index(args, placeholder); i >= 0 {
		args = slices.Replace(args, i, i+1, joins...)
	} else {
		args = append(args, joins...)
	}
	return args, append(os.Environ(), PeersVariable+"="+strings.Join(addrs, " ")), nil
}

// run runs the command to its end.
func (a Announcement) run(ctx context.Context, args, env []string) error {
	c := a.Start(args, env)
	if err := c.Start(); err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		if e := interrupt(c.Process); e != nil && !errors.Is(e, os.ErrProcessDone) {
			a.Log.WarnContext(ctx, "end the command", "error", e)
		}
		err = <-ended
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return ExitError{exitCode(exit.ProcessState)}
	}
	return err
}

// Package tunnel is skep's only way into a machine: SSH. It connects to an
// sshd, dials TCP ports and unix sockets as seen from the machine, runs
// commands, and forwards local ports.
//
// It depends on golang.org/x/crypto/ssh, and on skeema/knownhosts for files that
// are the user's own. It must not know what a provider, a swarm or an
// environment is.
package tunnel

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

const (
	handshakeTimeout  = 15 * time.Second
	keepaliveInterval = 3 * time.Second
	keepaliveTimeout  = 7 * time.Second
	// A small machine that unpacks an image may have no time for sshd.
	labourTimeout = time.Minute
)

// Endpoint says how to reach the sshd of a machine. It is plain data.
type Endpoint struct {
	Name       string // the machine's name, under which its host key is pinned
	Address    string // host:port
	User       string
	KeyFile    string // private key
	KnownHosts string // file of pinned host keys
	TrustFirst bool   // pin the key that the machine shows where none is pinned yet
	Comment    string // a word that is written beside a key that is pinned so
	Login      *Login // the user's own way in; then none of the last three is used
}

// Conn is one SSH connection to a machine; everything is multiplexed over it.
type Conn struct {
	endpoint Endpoint
	client   *ssh.Client
	stream   *stream
	shown    ssh.PublicKey // the machine's host key
	done     chan struct{} // closed when the connection is gone
	tending  sync.WaitGroup
	lend     sync.Once // of the key, to the machine
	lent     error
	labours  atomic.Int32 // that the machine is at
}

// Connect opens the connection and checks the host key against the pinned one.
// It ends with the context, at the latest after 15 seconds.
func Connect(ctx context.Context, e Endpoint) (*Conn, error) {
	c, err := connect(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("ssh to %s (%s@%s): %w", e.Name, e.User, e.Address, err)
	}
	return c, nil
}

func connect(ctx context.Context, e Endpoint) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	config, keys, err := clientConfig(ctx, e)
	if err != nil {
		return nil, err
	}
	defer keys.close()
	var shown ssh.PublicKey
	check := config.HostKeyCallback
	config.HostKeyCallback = func(host string, remote net.Addr, key ssh.PublicKey) error {
		shown = key
		return check(host, remote, key)
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.Address)
	if err != nil {
		return nil, err
	}
	// ssh takes no context: closing the socket is what ends a handshake.
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	stream := newStream(raw)
	conn, chans, reqs, err := ssh.NewClientConn(stream, hostAlias(e.Name), config)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = stream.Close()
		return nil, explain(ctx, e, keys, err)
	}
	c := &Conn{endpoint: e, stream: stream, shown: shown, client: ssh.NewClient(conn, chans, reqs), done: make(chan struct{})}
	go func() {
		_ = c.client.Wait()
		close(c.done)
	}()
	c.tending.Add(1)
	go c.tend()
	return c, nil
}

func clientConfig(ctx context.Context, e Endpoint) (*ssh.ClientConfig, *keyring, error) {
	var keys *keyring
	var known ssh.HostKeyCallback
	var algorithms []string
	var err error
	if e.Login != nil {
		known, algorithms, err = e.Login.known()
	} else {
		known, algorithms, err = hostKeys(e)
	}
	if err != nil {
		return nil, nil, err
	}
	if e.Login != nil {
		keys, err = e.Login.ring(ctx)
	} else {
		keys, err = oneKey(e.KeyFile)
	}
	if err != nil {
		return nil, nil, err
	}
	config := &ssh.ClientConfig{
		User:              e.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(keys.signers...)},
		HostKeyCallback:   known,
		HostKeyAlgorithms: algorithms,
		Timeout:           handshakeTimeout,
	}
	// AES-GCM costs half the CPU of chacha20, which the library prefers.
	config.Ciphers = []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR, ssh.CipherAES256CTR}
	return config, keys, nil
}

func oneKey(file string) (*keyring, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, fmt.Errorf("parse private key %s: %w", file, err)
	}
	return &keyring{signers: []ssh.Signer{signer}}, nil
}

// explain turns the library's errors into what happened and what to do.
func explain(ctx context.Context, e Endpoint, keys *keyring, err error) error {
	var key *knownhosts.KeyError
	var stranger *strangerError
	switch {
	case errors.As(err, &stranger):
		return stranger
	case errors.As(err, &key) && len(key.Want) > 0:
		return fmt.Errorf("%w in %s: refused, for it may be another machine at that address", ErrOtherKey, e.KnownHosts)
	case errors.As(err, &key):
		return fmt.Errorf("%w in %s", ErrNotPinned, e.KnownHosts)
	case strings.Contains(err.Error(), "unable to authenticate") && e.Login != nil:
		return fmt.Errorf("%w: none of your %d keys is authorized there%s", ErrDenied, len(keys.signers), keys.why())
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("%w: key %s is not authorized there", ErrDenied, e.KeyFile)
	case ctx.Err() != nil:
		return fmt.Errorf("no SSH handshake: %w", context.Cause(ctx))
	}
	return err
}

// What a caller that has another way to the machine can mend.
var (
	ErrNotPinned = errors.New("no host key is pinned")
	ErrOtherKey  = errors.New("the host key is not the pinned one")
	ErrDenied    = errors.New("login refused")
)

// tend opens a first session and keeps the connection alive until it is gone.
//
// The session is for speed: before its first one OpenSSH leaves Nagle's
// algorithm on, and every short connection stalls some 45 ms. Where the network
// is dead it would never be through: the keepalive does not wait for it.
func (c *Conn) tend() {
	defer c.tending.Done()
	c.tending.Go(func() {
		if session, err := c.client.NewSession(); err == nil {
			_ = session.Run("true")
			_ = session.Close()
		}
	})
	tick := time.NewTicker(keepaliveInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		if c.ask() != nil {
			_ = c.client.Close()
		}
	}
}

// ask asks the other end for a sign of life. On a dead network that blocks for
// ever, and closing ends it; behind a large upload over a slow line it takes its
// time, but then other things are heard meanwhile.
func (c *Conn) ask() error {
	var late *time.Timer
	var mu sync.Mutex
	mu.Lock()
	late = time.AfterFunc(keepaliveTimeout, func() {
		mu.Lock()
		defer mu.Unlock()
		limit := keepaliveTimeout
		if c.labours.Load() > 0 {
			limit = labourTimeout
		}
		if silent := c.stream.silent(); silent < limit {
			late.Reset(min(limit-silent, keepaliveInterval))
			return
		}
		c.stream.giveUp(fmt.Errorf("nothing was heard of it for %s: is it up, and reachable?", limit))
	})
	mu.Unlock()
	defer func() {
		mu.Lock()
		late.Stop()
		mu.Unlock()
	}()
	_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
	return err
}

// Labour says that the machine is at heavy work, until it is told that this is
// over: it may be silent for longer meanwhile.
func (c *Conn) Labour() (over func()) {
	c.labours.Add(1)
	return func() { c.labours.Add(-1) }
}

// GivenUp is why the connection was ended from this side, nil where it was not:
// what goes over it breaks off with less to say.
func (c *Conn) GivenUp() error { return c.stream.givenUp() }

// Name is the machine's name.
func (c *Conn) Name() string { return c.endpoint.Name }

// RemoteAddr is where the machine was reached, a name resolved.
func (c *Conn) RemoteAddr() net.Addr { return c.client.RemoteAddr() }

// Done is closed when the connection is gone.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close ends the connection and all that runs over it.
func (c *Conn) Close() error {
	err := c.client.Close()
	<-c.done
	c.tending.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Dial connects to "tcp" or "unix" addresses as seen from the machine. The
// connection has no deadlines: end it with Close.
func (c *Conn) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := c.client.DialContext(ctx, network, addr)
	if err == nil {
		return conn, nil
	}
	var refused *ssh.OpenChannelError
	if network == "unix" && errors.As(err, &refused) && c.mayUseStdio(refused.Reason) {
		return c.dialStdio(ctx, addr)
	}
	return nil, fmt.Errorf("dial %s on %s: %w", addr, c.Name(), err)
}

// mayUseStdio says whether a unix socket that sshd would not open is worth
// another try through a session: when forwarding is forbidden, or when the
// user may not open the socket but may use sudo.
func (c *Conn) mayUseStdio(why ssh.RejectionReason) bool {
	return why == ssh.Prohibited || why == ssh.ConnectionFailed && c.endpoint.User != "root"
}

// newSession opens a session, or ends with ctx: ssh takes none, and on a dead
// network it waits until the keepalive gives up.
func (c *Conn) newSession(ctx context.Context) (*ssh.Session, error) {
	type result struct {
		session *ssh.Session
		err     error
	}
	opened := make(chan result)
	go func() {
		session, err := c.client.NewSession()
		select {
		case opened <- result{session, err}:
		case <-ctx.Done():
			if err == nil {
				_ = session.Close()
			}
		}
	}()
	select {
	case r := <-opened:
		return r.session, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Run runs a shell command on the machine, with stdin if it is not nil, and
// returns what it printed. A failing command's error carries its own words.
func (c *Conn) Run(ctx context.Context, command string, stdin io.Reader) (string, error) {
	session, err := c.newSession(ctx)
	if err != nil {
		return "", fmt.Errorf("run a command on %s: %w", c.Name(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	defer func() { _ = session.Close() }()
	var out, errs bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = stdin, &out, &errs
	if err := session.Run(command); err != nil {
		err = cmp.Or(context.Cause(ctx), c.GivenUp(), err)
		words := strings.TrimSpace(errs.String())
		return out.String(), &CommandError{Node: c.Name(), Words: words, err: err}
	}
	return out.String(), nil
}

// CommandError is a command that failed on a machine.
type CommandError struct {
	Node  string
	Words string // what it wrote to stderr
	err   error
}

func (e *CommandError) Error() string {
	if e.Words != "" {
		return fmt.Sprintf("on %s: %v: %s", e.Node, e.err, e.Words)
	}
	return fmt.Sprintf("on %s: %v", e.Node, e.err)
}

func (e *CommandError) Unwrap() error { return e.err }

package tunnel

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Endpoint is where the connection leads.
func (c *Conn) Endpoint() Endpoint { return c.endpoint }

// KnownHost is the line of a known_hosts file that has the machine's key under
// its name, for another machine that is to connect to it.
func (c *Conn) KnownHost() string {
	return knownhosts.Line([]string{hostAlias(c.Name())}, c.shown)
}

// RunWithKey is Run, and while the command runs the machine can log in to others
// with the key that this connection uses. The key itself stays here: the
// machine asks over the connection for each signature. A user's own keys are not
// lent.
func (c *Conn) RunWithKey(ctx context.Context, command string, stdin io.Reader) (string, error) {
	if c.endpoint.Login != nil {
		return "", fmt.Errorf("%s is logged in to with keys of the user's, which are not lent", c.Name())
	}
	pem, err := os.ReadFile(c.endpoint.KeyFile)
	if err != nil {
		return "", fmt.Errorf("read the private key: %w", err)
	}
	key, err := ssh.ParseRawPrivateKey(pem)
	if err != nil {
		return "", fmt.Errorf("parse private key %s: %w", c.endpoint.KeyFile, err)
	}
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		return "", err
	}
	// A connection takes the one handler for its life: a second command with the
	// key finds it there.
	c.lend.Do(func() { c.lent = agent.ForwardToAgent(c.client, keys) })
	if c.lent != nil {
		return "", fmt.Errorf("lend the key to %s: %w", c.Name(), c.lent)
	}
	session, err := c.newSession(ctx)
	if err != nil {
		return "", fmt.Errorf("run a command on %s: %w", c.Name(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	defer func() { _ = session.Close() }()
	if err := agent.RequestAgentForwarding(session); err != nil {
		return "", fmt.Errorf("lend the key to %s: %w", c.Name(), err)
	}
	var out, words bytes.Buffer
	session.Stdout, session.Stderr = &out, &words
	in, err := session.StdinPipe()
	if err != nil {
		return "", err
	}
	if err := session.Start(command); err != nil {
		return "", fmt.Errorf("run a command on %s: %w", c.Name(), err)
	}
	// Session.Wait would wait for a reader that nobody ends.
	_, fed := io.CopyBuffer(struct{ io.Writer }{in}, struct{ io.Reader }{stdin}, make([]byte, 1<<18))
	if fed == nil {
		fed = in.Close()
	}
	err = session.Wait()
	if err == nil && errors.Is(fed, io.EOF) {
		fed = nil // it had enough
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err = errors.Join(err, fed); err != nil {
		return out.String(), &CommandError{Node: c.Name(), Words: strings.TrimSpace(words.String()), err: cmp.Or(c.GivenUp(), err)}
	}
	return out.String(), nil
}

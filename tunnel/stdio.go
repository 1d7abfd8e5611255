package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// mostWords is how many bytes of a command's stderr an error carries.
const mostWords = 4 << 10

// dialStdio reaches the Docker socket through a command's standard input and
// output, for machines whose sshd forwards no unix sockets or whose user may
// not open this one. The docker CLI on the machine does the dialling.
func (c *Conn) dialStdio(ctx context.Context, socket string) (net.Conn, error) {
	session, err := c.newSession(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial %s on %s: %w", socket, c.Name(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	conn, err := startStdio(session, socket)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = session.Close()
		return nil, fmt.Errorf("dial %s on %s: %w", socket, c.Name(), err)
	}
	conn.addr = c.client.RemoteAddr()
	return conn, nil
}

func startStdio(session *ssh.Session, socket string) (*stdioConn, error) {
	in, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	words, err := session.StderrPipe()
	if err != nil {
		return nil, err
	}
	dial := "docker -H unix://" + socket + " system dial-stdio"
	if err := session.Start("if [ -w " + socket + " ]; then exec " + dial + "; else exec sudo -n " + dial + "; fi"); err != nil {
		return nil, err
	}
	return &stdioConn{session: session, in: in, out: out, words: words}, nil
}

// stdioConn is a session's standard input and output as a net.Conn.
type stdioConn struct {
	session  *ssh.Session
	in       io.WriteCloser
	out      io.Reader
	words    io.Reader // stderr, read once the command has ended without an answer
	answered atomic.Bool
	addr     net.Addr
}

// Read tells why the command ended where it did so without an answer.
func (s *stdioConn) Read(p []byte) (int, error) {
	n, err := s.out.Read(p)
	if n > 0 {
		s.answered.Store(true)
	}
	if errors.Is(err, io.EOF) && !s.answered.Load() {
		// The end of one stream is the end of both.
		words, _ := io.ReadAll(io.LimitReader(s.words, mostWords))
		if text := strings.TrimSpace(string(words)); text != "" {
			return n, errors.New(strings.ReplaceAll(text, "\n", "; "))
		}
	}
	return n, err
}

func (s *stdioConn) Write(p []byte) (int, error) { return s.in.Write(p) }
func (s *stdioConn) CloseWrite() error           { return s.in.Close() }
func (s *stdioConn) Close() error                { return s.session.Close() }
func (s *stdioConn) LocalAddr() net.Addr         { return s.addr }
func (s *stdioConn) RemoteAddr() net.Addr        { return s.addr }

// Sessions have no deadlines; callers end a Conn with Close.
func (s *stdioConn) SetDeadline(time.Time) error      { return nil }
func (s *stdioConn) SetReadDeadline(time.Time) error  { return nil }
func (s *stdioConn) SetWriteDeadline(time.Time) error { return nil }

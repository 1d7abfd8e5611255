package tunnel

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// sshd is an SSH server in this process: as much of one as a machine has.
type sshd struct {
	addr    string
	hostKey ssh.Signer
	keyFile string                     // private key of those who are let in
	login   ssh.PublicKey              // its public half
	sockets ssh.RejectionReason        // why unix sockets are not forwarded; 0 forwards them
	run     func(session) (code int)   // runs a command; nil is a shell of this computer
	refuses bool                       // to run anything
	refused chan struct{}              // where set, told of each session that is closed
	resized func(width, height uint32) // told of each terminal size
	mute    bool                       // no session is ever opened nor refused

	running sync.WaitGroup
	mu      sync.Mutex
	conns   []net.Conn
}

// session is a command that a client runs, or the shell for an empty one.
type session struct {
	ctx     context.Context // ends when the client closes the session
	command string
	stdio   ssh.Channel
}

// startServer serves until the test ends. What is special about this server is
// set before it begins.
func startServer(t *testing.T, special ...func(*sshd)) *sshd {
	t.Helper()
	s := &sshd{hostKey: newSigner(t), keyFile: filepath.Join(t.TempDir(), "id_ed25519")}
	line, err := EnsureKey(s.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if s.login, _, _, _, err = ssh.ParseAuthorizedKey([]byte(line)); err != nil {
		t.Fatal(err)
	}
	for _, set := range special {
		set(s)
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	s.running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			s.running.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		s.drop()
		s.running.Wait()
	})
	return s
}

// drop ends all connections, as a machine that goes does.
func (s *sshd) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
}

func (s *sshd) serve(raw net.Conn) {
	defer func() { _ = raw.Close() }()
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(s.login.Marshal()) {
			return nil, errors.New("not authorized")
		}
		return nil, nil
	}}
	config.AddHostKey(s.hostKey)
	conn, channels, requests, err := ssh.NewServerConn(raw, config)
	if err != nil {
		return
	}
	s.running.Go(func() {
		for r := range requests {
			_ = r.Reply(true, nil)
		}
	})
	for c := range channels {
		switch c.ChannelType() {
		case "session":
			if s.mute {
				continue
			}
			s.running.Go(func() { s.session(c) })
		case "direct-tcpip":
			var to struct {
				Host     string
				Port     uint32
				From     string
				FromPort uint32
			}
			_ = ssh.Unmarshal(c.ExtraData(), &to)
			s.running.Go(func() { forwardChannel(c, "tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port)))) })
		case "direct-streamlocal@openssh.com":
			var to struct {
				Path     string
				Reserved string
				Port     uint32
			}
			_ = ssh.Unmarshal(c.ExtraData(), &to)
			if s.sockets != 0 {
				_ = c.Reject(s.sockets, "open failed")
				continue
			}
			s.running.Go(func() { forwardChannel(c, "unix", to.Path) })
		default:
			_ = c.Reject(ssh.UnknownChannelType, "unknown")
		}
	}
	_ = conn.Wait()
}

// forwardChannel joins a channel to an address of this computer.
func forwardChannel(c ssh.NewChannel, network, addr string) {
	to, err := (&net.Dialer{}).DialContext(context.Background(), network, addr)
	if err != nil {
		_ = c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	channel, requests, err := c.Accept()
	if err != nil {
		_ = to.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(to, channel); closeWrite(to) })
	both.Go(func() { _, _ = io.Copy(channel, to); _ = channel.CloseWrite() })
	both.Wait()
	_, _ = to.Close(), channel.Close()
}

func (s *sshd) session(c ssh.NewChannel) {
	channel, requests, err := c.Accept()
	if err != nil {
		return
	}
	defer func() { _ = channel.Close() }()
	ctx, gone := context.WithCancel(context.Background())
	defer gone()
	var running sync.WaitGroup
	defer running.Wait()
	for r := range requests {
		switch r.Type {
		case "exec", "shell":
			if s.refuses {
				_ = r.Reply(false, nil)
				continue
			}
			var exec struct{ Command string }
			if r.Type == "exec" {
				_ = ssh.Unmarshal(r.Payload, &exec)
			}
			_ = r.Reply(true, nil)
			running.Go(func() {
				code := s.command(session{ctx, exec.Command, channel})
				_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(code)})) // #nosec G115 -- an exit code
				_ = channel.Close()
			})
		case "pty-req":
			var p struct {
				Term                       string
				Width, Height, Pixel, Tall uint32
				Modes                      string
			}
			_ = ssh.Unmarshal(r.Payload, &p)
			s.resized(p.Width, p.Height)
			_ = r.Reply(true, nil)
		case "window-change":
			var p struct{ Width, Height, Pixel, Tall uint32 }
			_ = ssh.Unmarshal(r.Payload, &p)
			s.resized(p.Width, p.Height)
		default:
			_ = r.Reply(false, nil)
		}
	}
	gone()
	if s.refused != nil {
		s.refused <- struct{}{}
	}
}

func (s *sshd) command(c session) int {
	if c.command == "true" { // every connection's first
		return 0
	}
	if s.run != nil {
		return s.run(c)
	}
	sh := exec.CommandContext(c.ctx, "sh", "-c", c.command) // #nosec G204 -- that is what sshd does
	sh.Stdout, sh.Stderr = c.stdio, c.stdio.Stderr()
	in, err := sh.StdinPipe()
	if err != nil {
		return 255
	}
	s.running.Go(func() { // ends with the channel
		_, _ = io.Copy(in, c.stdio)
		_ = in.Close()
	})
	_ = sh.Run()
	return sh.ProcessState.ExitCode()
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// endpoint is the way to the server with a key that it lets in and with its
// host key pinned.
func (s *sshd) endpoint(t *testing.T) Endpoint {
	t.Helper()
	e := Endpoint{
		Name: "dev-manager-1", Address: s.addr, User: "root",
		KeyFile: s.keyFile, KnownHosts: filepath.Join(t.TempDir(), "known_hosts"),
	}
	if err := Pin(e.KnownHosts, map[string]ssh.PublicKey{e.Name: s.hostKey.PublicKey()}); err != nil {
		t.Fatal(err)
	}
	return e
}

// connected is a connection to the server.
func (s *sshd) connected(t *testing.T) *Conn {
	t.Helper()
	return connectWith(t, s.endpoint(t))
}

func connectWith(t *testing.T, e Endpoint) *Conn {
	t.Helper()
	c, err := Connect(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// programs puts shell scripts into a folder and makes it all of PATH that comes
// before the system's.
func programs(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		// #nosec G306 -- a program
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", strings.Join([]string{dir, os.Getenv("PATH")}, string(os.PathListSeparator)))
}

package tunnel

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// On a dead network a session is neither opened nor refused.
func TestSessionsEndWithTheirContext(t *testing.T) {
	conn := startServer(t, func(s *sshd) { s.mute, s.sockets = true, ssh.Prohibited }).connected(t)
	for name, open := range map[string]func(context.Context) error{
		"run":   func(ctx context.Context) error { _, err := conn.Run(ctx, "true", nil); return err },
		"shell": func(ctx context.Context) error { _, err := conn.Shell(ctx, "true", Streams{}); return err },
		"dial":  func(ctx context.Context) error { _, err := conn.Dial(ctx, "unix", "/nowhere.sock"); return err },
	} {
		why := errors.New("stopped by interrupt")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
		begun := time.Now()
		if err := open(ctx); !errors.Is(err, why) || time.Since(begun) > keepaliveInterval {
			t.Errorf("%s: %v after %v", name, err, time.Since(begun))
		}
	}
}

func TestDialThroughDockerTellsWhyItEndedAtOnce(t *testing.T) {
	programs(t, map[string]string{"docker": "echo 'docker: command not found' >&2; echo sorry >&2; exit 127", "sudo": "exec docker"})
	conn := startServer(t, func(s *sshd) { s.sockets = ssh.Prohibited }).connected(t)
	stream, err := conn.Dial(t.Context(), "unix", "/nowhere.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	_, err = stream.Read(make([]byte, 10))
	if err == nil || !strings.Contains(err.Error(), "docker: command not found; sorry") {
		t.Errorf("it says %v", err)
	}
}

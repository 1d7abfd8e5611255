package services

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"skep/services/rethink"
	"skep/swarm"
	"skep/usage"

	api "github.com/docker/docker/api/types/swarm"
)

// RethinkDB is the database of one environment, as its admin sees it.
type RethinkDB struct {
	Executor
	Name string // of the environment
	// PasswordFile is where this computer keeps the admin password. Lost, or of
	// an earlier environment of the name, it is read from a server again.
	PasswordFile string
}

const (
	mostPassword = 128
	secretsDir   = "/run/secrets/"
)

// CheckPassword refuses what the server's configuration file could not hold.
func CheckPassword(password string) error {
	if password == "" || len(password) > mostPassword {
		return usage.Errorf("the password has %d characters: use 1 to %d", len(password), mostPassword)
	}
	if password == "auto" {
		return usage.Errorf("this password means any to the server: use another")
	}
	if i := strings.IndexFunc(password, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`#"'\\`, c) }); i >= 0 {
		return usage.Errorf("the password may have no spaces, quotes, # or \\\\, and nothing beyond ASCII: character %d is one", i+1)
	}
	return nil
}

// session opens one at the first of the tasks that lets an admin in.
func (d RethinkDB) session(ctx context.Context, manager *swarm.Engine, tasks []swarm.Task, connections int) (*rethink.Session, error) {
	errs := []error{}
	for _, t := range tasks {
		session, err := d.sessionAt(ctx, manager, t, connections)
		if err == nil {
			return session, nil
		}
		errs = append(errs, fmt.Errorf("%s on %s: %w", t.Service, t.Node, err))
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("no server of RethinkDB runs"))
	}
	return nil, errors.Join(errs...)
}

// sessionAt tries the password that this computer keeps, then the one that the
// task was given.
func (d RethinkDB) sessionAt(ctx context.Context, manager *swarm.Engine, t swarm.Task, connections int) (*rethink.Session, error) {
	config, err := d.trust(ctx, manager, t.Service)
	if err != nil {
		return nil, err
	}
	access := rethink.Access{
		TLS: config,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return swarm.Dialer{Fleet: d.Env}.DialTask(ctx, t, rethinkDriver)
		},
	}
	kept, err := d.readPassword()
	if err != nil {
		return nil, err
	}
	if kept != "" {
		access.Password = kept
		session, err := rethink.Connect(ctx, access, connections)
		if !errors.Is(err, rethink.ErrPassword) {
			return session, err
		}
	}
	if access.Password, err = d.given(ctx, t); err != nil {
		return nil, err
	}
	session, err := rethink.Connect(ctx, access, connections)
	if err != nil {
		return nil, err
	}
	if err := d.writePassword(access.Password); err != nil {
		session.Close()
		return nil, err
	}
	return session, nil
}

// given is the password that a task's secret has.
func (d RethinkDB) given(ctx context.Context, t swarm.Task) (string, error) {
	engine, err := d.Env.Engine(ctx, t.Node)
	if err != nil {
		return "", err
	}
	text, err := engine.ReadFile(ctx, t.Container, secretsDir+rethinkPassword)
	return string(text), err
}

// readPassword is the password on this computer, "" where there is none.
func (d RethinkDB) readPassword() (string, error) {
	text, err := os.ReadFile(d.PasswordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// writePassword writes it for this user alone, whole or not at all.
func (d RethinkDB) writePassword(password string) error {
	if err := os.MkdirAll(filepath.Dir(d.PasswordFile), 0o700); err != nil {
		return fmt.Errorf("keep the password: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(d.PasswordFile), ".password") // 0600
	if err != nil {
		return fmt.Errorf("keep the password: %w", err)
	}
	_, err = file.WriteString(password)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), d.PasswordFile)
	}
	if err != nil {
		return fmt.Errorf("keep the password: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}

// trust is how to check the certificate of a service's servers, nil where they
// speak plainly.
func (d RethinkDB) trust(ctx context.Context, manager *swarm.Engine, service string) (*tls.Config, error) {
	s, err := manager.Service(ctx, service)
	if err != nil {
		return nil, err
	}
	names := rethinkTLS(s)
	if names.CA == "" {
		return nil, nil
	}
	authorities, err := manager.Config(ctx, names.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("config %s holds no certificate", names.CA)
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}, nil
}

// rethinkTLS reads the names of what a service's servers prove themselves with.
func rethinkTLS(s api.Service) RethinkTLS {
	var t RethinkTLS
	c := s.Spec.TaskTemplate.ContainerSpec
	for _, ref := range c.Secrets {
		switch ref.File.Name {
		case rethinkCert:
			t.Cert = ref.SecretName
		case rethinkKey:
			t.Key = ref.SecretName
		}
	}
	for _, ref := range c.Configs {
		if ref.File != nil && ref.File.Name == rethinkCAPath {
			t.CA = ref.ConfigName
		}
	}
	return t
}

// newPassword makes one that nobody has to remember.
func newPassword() string { return rand.Text() }

// Password reads one from a file, a line's end taken off.
func Password(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", usage.Errorf("the password: %v", err)
	}
	password := string(bytes.TrimRight(text, "\r\n"))
	return password, CheckPassword(password)
}

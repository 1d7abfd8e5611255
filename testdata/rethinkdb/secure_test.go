package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// authority signs certificates, whose files lie in a folder.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca", true)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// sign writes NAME.crt and NAME.key.
func (a *authority) sign(name string, ca bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	parent, signer := a.cert, a.key
	if ca {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".crt": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// options are those of the three ports.
func (a *authority) options() (args []string) {
	a.sign("server", false)
	for _, port := range []string{"http", "driver", "cluster"} {
		args = append(args, "--"+port+"-tls-cert", a.file("server.crt"), "--"+port+"-tls-key", a.file("server.key"))
	}
	return append(args, "--driver-tls-ca", a.file("ca.crt"), "--cluster-tls-ca", a.file("ca.crt"))
}

func (a *authority) client(name string) *tls.Config {
	a.sign(name, false)
	pair, err := tls.LoadX509KeyPair(a.file(name+".crt"), a.file(name+".key"))
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: "server", MinVersion: tls.VersionTLS12}
}

func TestTLSOnAllPorts(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	a, b := newServer(t, "a", ours.options()...), newServer(t, "b", ours.options()...)
	stranger := newServer(t, "stranger", others.options()...)
	a.start()
	trusted := func(o *r.ConnectOpts) { o.TLSConfig = ours.client("client") }
	session := a.session(trusted)
	b.start(a)
	eventually(t, "both see each other", func() error {
		if got := fmt.Sprint(value(t, session, r.DB("rethinkdb").Table("server_status").Count())); got != "2" {
			return fmt.Errorf("%s servers", got)
		}
		return nil
	})
	for name, config := range map[string]*tls.Config{
		"plain":                     nil,
		"a certificate of another":  {RootCAs: ours.client("x").RootCAs, Certificates: others.client("x").Certificates, ServerName: "server", MinVersion: tls.VersionTLS12},
		"without a certificate":     {RootCAs: ours.client("x").RootCAs, ServerName: "server", MinVersion: tls.VersionTLS12},
		"that does not know the CA": {RootCAs: others.client("x").RootCAs, ServerName: "server", MinVersion: tls.VersionTLS12},
	} {
		if _, err := r.Connect(r.ConnectOpts{Address: a.address(), TLSConfig: config, Timeout: 5 * time.Second}); err == nil {
			t.Errorf("a client is let in: %s", name)
		}
	}
	stranger.start(a)
	plain := newServer(t, "plain")
	plain.start(a)
	eventually(t, "the strangers tried", func() error {
		for _, s := range []*server{stranger, plain} {
			if !strings.Contains(s.log.String(), "Attempting connection") {
				return fmt.Errorf("%s did not yet", s.name)
			}
		}
		return nil
	})
	for _, s := range []*server{stranger, plain} {
		if strings.Contains(s.log.String(), "Server ready") {
			t.Errorf("%s was let in", s.name)
		}
	}

	web := &http.Client{Transport: &http.Transport{TLSClientConfig: ours.client("browser")}}
	defer web.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/", a.http), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := web.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(page), "Servers connected: 2") {
		t.Errorf("%s %v", page, err)
	}
}

// The password is in a file, as a swarm gives it, and the one who joins takes it over.
func TestThePasswordOfAConfigFileIsTheClusters(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("# a comment\ninitial-password=s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := newServer(t, "a", "--config-file", file)
	b, c := newServer(t, "b", "--initial-password", "auto"), newServer(t, "c")
	a.start()
	right := func(o *r.ConnectOpts) { o.Password = "s3cret" }
	a.session(right)
	b.start(a)
	b.session(right)
	c.start(a)
	eventually(t, "one without a password is refused", func() error {
		if !strings.Contains(c.log.String(), "try --initial-password auto") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

func TestWhatItDoesNotKnowEndsIt(t *testing.T) {
	for _, args := range [][]string{
		{"--nonsense"}, {"--cache-size", "much"}, {"--driver-tls-cert", "x"}, {"--cluster-tls-cert", "x", "--cluster-tls-key", "y"},
		{"--tls-min-protocol", "SSLv3", "--http-tls-cert", "x", "--http-tls-key", "y"}, {"--server-name", "a-b c"}, {"--cores", "1", "--cores", "2"},
	} {
		s := newServer(t, "db0")
		s.args = args
		s.start()
		<-s.exited
		if code := s.process.ProcessState.ExitCode(); code != 1 {
			t.Errorf("%v: exit code %d", args, code)
		}
		s.process = nil
	}
}

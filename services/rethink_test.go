package services

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skep/usage"
)

func TestVersions(t *testing.T) {
	for _, test := range []struct {
		names        []string
		latest, next string
	}{
		{nil, "", "rethink-ca"},
		{[]string{"rethink-cert", "rethink-key-7"}, "", "rethink-ca"},
		{[]string{"rethink-ca"}, "rethink-ca", "rethink-ca-2"},
		{[]string{"rethink-ca-10", "rethink-ca", "rethink-ca-9"}, "rethink-ca-10", "rethink-ca-11"},
	} {
		if got := latest(test.names, "rethink-ca"); got != test.latest {
			t.Errorf("of %v the latest is %q", test.names, got)
		}
		if got := next(test.names, "rethink-ca"); got != test.next {
			t.Errorf("of %v the next is %q", test.names, got)
		}
	}
}

func TestCheckPassword(t *testing.T) {
	for password, ok := range map[string]bool{
		"t0p-Secret!": true, strings.Repeat("x", mostPassword): true, newPassword(): true,
		"": false, "auto": false, strings.Repeat("x", mostPassword+1): false, "a b": false, "a\nb": false, "a#b": false, `a"b`: false, `a\b`: false, "ä": false, "a\x7f": false,
	} {
		var wrong usage.Error
		if err := CheckPassword(password); (err == nil) != ok || err != nil && (!errors.As(err, &wrong) || len(password) > 2 && strings.Contains(err.Error(), password)) {
			t.Errorf("%q: %v", password, err)
		}
	}
}

func TestAPasswordIsKeptForItsOwnerAlone(t *testing.T) {
	d := RethinkDB{PasswordFile: filepath.Join(t.TempDir(), "new", "dev.rethink")}
	if kept, err := d.readPassword(); kept != "" || err != nil {
		t.Errorf("before: %q, %v", kept, err)
	}
	for _, password := range []string{"one", "other"} {
		if err := d.writePassword(password); err != nil {
			t.Fatal(err)
		}
		if kept, err := d.readPassword(); kept != password || err != nil {
			t.Errorf("%q, %v", kept, err)
		}
	}
	if files, err := filepath.Glob(filepath.Join(filepath.Dir(d.PasswordFile), "*")); err != nil || len(files) != 1 {
		t.Errorf("files: %v, %v", files, err)
	}
}

// Servers prove themselves to each other and to a client; while certificates
// change, old and new ones are trusted.
func TestCertificates(t *testing.T) {
	now := time.Now()
	one, err := newCertificates("test", []string{"db0"}, now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newCertificates("test", []string{"db0"}, now)
	if err != nil {
		t.Fatal(err)
	}
	if oneCA, otherCA := parsed(t, one.authority), parsed(t, other.authority); oneCA.Subject.String() == otherCA.Subject.String() {
		t.Error("OpenSSL takes one authority for the other")
	}
	if leaf := parsed(t, one.cert); len(leaf.AuthorityKeyId) == 0 {
		t.Error("the certificate does not say which key signed it")
	}
	for name, test := range map[string]struct {
		serves certificates
		trust  []byte
		name   string
		ok     bool
	}{
		"its own":         {one, one.authority, "db0", true},
		"through tunnels": {one, one.authority, "localhost", true},
		"another name":    {one, one.authority, "db9", false},
		"another's":       {other, one.authority, "db0", false},
		"old beside new":  {one, bundle(one.authority, other.authority), "db0", true},
		"new beside old":  {other, bundle(one.authority, other.authority), "db0", true},
	} {
		err := handshake(t, test.serves, test.trust, test.name)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func parsed(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func handshake(t *testing.T, c certificates, trust []byte, name string) error {
	t.Helper()
	pair, err := tls.X509KeyPair(c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(trust) {
		t.Fatal("no authority")
	}
	near, far := net.Pipe()
	defer func() { _ = near.Close() }()
	go func() {
		defer func() { _ = far.Close() }()
		// The client's certificate is checked, too, as between servers.
		_ = tls.Server(far, &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}).HandshakeContext(t.Context())
	}()
	return tls.Client(near, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}).HandshakeContext(t.Context())
}

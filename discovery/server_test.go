package discovery

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// log keeps what is logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start runs the server until the test ends, or stop is called.
func start(t *testing.T, s Server) (base string, stop func(), told *log) {
	t.Helper()
	told = &log{}
	s.Addr, s.Log = "127.0.0.1:0", slog.New(slog.NewJSONHandler(told, nil))
	ready := make(chan net.Addr, 1)
	s.Listening = func(a net.Addr) { ready <- a }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case a := <-ready:
		return a.String(), stop, told
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return "", nil, nil
}

func post(t *testing.T, client *http.Client, url, body string) (int, Answer) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var a Answer
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, a
}

func TestServerKeepsWhatItAcknowledged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	base, stop, told := start(t, Server{File: file})
	_, made := post(t, client, "http://"+base, "")
	if code, _ := post(t, client, "http://"+base+"/"+made.DiscoID, addr(1)); code != 200 {
		t.Fatal(code)
	}
	if err := (Server{File: file, Addr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("two servers on one file: %v", err)
	}
	stop()
	var request map[string]any
	for line := range strings.Lines(told.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Errorf("log: %v: %s", err, line)
		}
		if record["msg"] == "request" {
			request = record
		}
	}
	if request["client"] != "127.0.0.1" || request["method"] != "POST" || request["path"] != "/"+made.DiscoID || request["status"] != 200.0 {
		t.Errorf("access log: %v", request)
	}

	base, _, _ = start(t, Server{File: file})
	answer, err := Client{URL: "http://" + base + "/", ID: made.DiscoID, HTTP: client}.List(t.Context())
	if err != nil || len(answer.Nodes) != 1 || !answer.CreatedAt.Equal(made.CreatedAt) {
		t.Errorf("after a restart: %+v, %v", answer, err)
	}
}

// A request that has begun is answered, though the server is told to stop.
func TestServerFinishesWhatItBegan(t *testing.T) {
	base, stop, told := start(t, Server{File: filepath.Join(t.TempDir(), "db")})
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", base)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	// Another that is answered shows that the server has read the first.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	post(t, client, "http://"+base, "")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	waitFor(t, func() bool { return strings.Contains(told.String(), "stopping") })
	if _, err := io.WriteString(conn, "}"); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 404 ") {
		t.Errorf("answered %q, %v", text, err)
	}
	<-stopped
}

func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !is(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nothing came of it within a minute")
		}
	}
}

func TestServerSpeaksTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"disco.test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyBytes, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	base, _, _ := start(t, Server{File: filepath.Join(dir, "db"), Cert: write("cert", "CERTIFICATE", cert), Key: write("key", "EC PRIVATE KEY", keyBytes)})
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "disco.test", MinVersion: tls.VersionTLS13}}}
	defer client.CloseIdleConnections()
	if code, made := post(t, client, "https://"+base, ""); code != 200 || made.DiscoID == "" {
		t.Errorf("%d, %+v", code, made)
	}
}

func TestServerRefusesWhatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	log := slog.New(slog.DiscardHandler)
	for name, s := range map[string]Server{
		"a certificate without its key": {Addr: "127.0.0.1:0", File: file, Cert: "cert"},
		"a certificate that is none":    {Addr: "127.0.0.1:0", File: file, Cert: file, Key: file},
		"a negative limit":              {Addr: "127.0.0.1:0", File: file, Rate: -1},
		"no address":                    {Addr: "nowhere", File: file},
		"a file that cannot be":         {Addr: "127.0.0.1:0", File: filepath.Join(file, "x", "y")},
	} {
		s.Log = log
		if err := s.Run(t.Context()); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

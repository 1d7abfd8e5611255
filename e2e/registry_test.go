package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// What is pushed to a private registry with the user's credentials is deployed
// from there with them, and has its probe.
func TestPrivateRegistry(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	env := u.environment("reg")
	u.must("nodes", "create", "-m", "1", env)
	node := u.nodes(env)[0]
	gateway := net.ParseIP(node.Address).To4()
	gateway[3] = 1
	host, ca := startRegistry(t, gateway, "anna", "secret")
	file := filepath.Join(u.home, "ca.crt")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	docker(t, "exec", node.Name, "mkdir", "-p", "/etc/docker/certs.d/"+host)
	docker(t, "cp", file, node.Name+":/etc/docker/certs.d/"+host+"/ca.crt")

	source := filepath.Join(u.home, "greet")
	if err := os.MkdirAll(source, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod":  "module greet\n\ngo 1.26\n",
		"main.go": "package main\n\nimport \"net/http\"\n\nfunc main() { panic(http.ListenAndServe(\":9090\", http.FileServer(http.Dir(\"/etc\")))) }\n",
	} {
		if err := os.WriteFile(filepath.Join(source, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	image := host + "/team/greet:1"
	u.env = []string{"SSL_CERT_FILE=" + file, "DOCKER_CONFIG=" + filepath.Join(u.home, "docker")}
	u.refused(1, []string{"401 Unauthorized", "docker login"}, "app", "build", source, image)
	login := base64.StdEncoding.EncodeToString([]byte("anna:secret"))
	if err := os.MkdirAll(filepath.Join(u.home, "docker"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(u.home, "docker", "config.json")
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, host, login), 0o600); err != nil {
		t.Fatal(err)
	}
	if pushed := strings.TrimSpace(u.must("app", "build", source, image).out); !strings.HasPrefix(pushed, host+"/team/greet@sha256:") {
		t.Errorf("pushed as %q", pushed)
	}
	u.must("app", "deploy", "--health", "http://:9090/passwd", "greet", image, env)
	if got := docker(t, "exec", node.Name, "docker", "service", "inspect", "-f", "{{.Spec.TaskTemplate.ContainerSpec.Image}}", "greet"); !strings.HasPrefix(got, image+"@sha256:") {
		t.Errorf("the service's image is %s", got)
	}
	if r := u.must("app", "deploy", "--health", "http://:9090/passwd", "greet", image, env); !strings.Contains(r.errs, "unchanged") {
		t.Errorf("deployed again: %s", r.errs)
	}
	u.must("app", "rm", "greet", env)
	docker(t, "exec", node.Name, "docker", "image", "prune", "-af")
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	u.refused(1, []string{"no registry gives it"}, "app", "deploy", "greet", image, env)
}

// startRegistry serves an empty registry for one user, over TLS, and returns its
// address and its certificate.
func startRegistry(t *testing.T, ip net.IP, name, password string) (string, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{ip}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(ip.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	// It takes one upload at a time: over HTTP/2 the others, which share the one
	// connection's window, would leave nothing of it to that one.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := &http.Server{
		ReadHeaderTimeout: time.Minute, Protocols: &protocols, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n, p, _ := r.BasicAuth(); n != name || p != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="images"`)
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = io.WriteString(w, `{"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}`)
				return
			}
			images.ServeHTTP(w, r)
		}),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(l, "", "")
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return l.Addr().String(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
)

// secured is the TLS of one port; nil for a plain one.
type secured struct {
	server *tls.Config
	client *tls.Config // of the cluster port, whose servers are clients of each other
}

// newSecured reads the files of an option group such as --cluster-tls-…. With a CA both sides need a certificate of it.
func newSecured(o options, group string) (*secured, error) {
	cert, key, ca := o.get("--"+group+"-tls-cert", ""), o.get("--"+group+"-tls-key", ""), o.get("--"+group+"-tls-ca", "")
	if cert == "" && key == "" && ca == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, fmt.Errorf("--%s-tls-cert and --%s-tls-key must be given together", group, group)
	}
	if group == "cluster" && ca == "" {
		return nil, fmt.Errorf("--cluster-tls needs --cluster-tls-ca too: servers check each other")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("--%s-tls: %w", group, err)
	}
	lowest := map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}
	protocol, ok := lowest[o.get("--tls-min-protocol", "TLSv1.2")]
	if !ok {
		return nil, fmt.Errorf("--tls-min-protocol: %q is none of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3", o.get("--tls-min-protocol", ""))
	}
	s := &secured{server: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: protocol}}
	if ca == "" {
		return s, nil
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("--%s-tls-ca: %w", group, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--%s-tls-ca: %s has no certificate", group, ca)
	}
	s.server.ClientCAs, s.server.ClientAuth = pool, tls.RequireAndVerifyClientCert
	s.client = &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: protocol,
		// The real server checks who signed a peer's certificate, and not the name on it.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			intermediates := x509.NewCertPool()
			for _, one := range state.PeerCertificates[1:] {
				intermediates.AddCert(one)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
				Roots: pool, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
			})
			return err
		},
	}
	return s, nil
}

// listeners wraps them.
func (s *secured) listeners(plain []net.Listener) []net.Listener {
	if s == nil {
		return plain
	}
	var wrapped []net.Listener
	for _, one := range plain {
		wrapped = append(wrapped, tls.NewListener(one, s.server))
	}
	return wrapped
}

// dialled wraps the connecting end.
func (s *secured) dialled(conn net.Conn) net.Conn {
	if s == nil {
		return conn
	}
	return tls.Client(conn, s.client)
}

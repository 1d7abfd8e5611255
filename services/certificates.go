package services

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// certificates are what the servers of one database prove themselves with. The
// authority signs this one certificate and its key is never kept: a rotation
// makes another authority, which for a time is trusted beside the old one.
type certificates struct {
	authority, cert, key []byte // PEM
}

const (
	certificateLife = 10 * 365 * 24 * time.Hour
	clockSkew       = time.Hour
)

// newCertificates are good for the names, and for localhost at the near end of
// a tunnel.
func newCertificates(title string, names []string, now time.Time) (certificates, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificates{}, fmt.Errorf("make a key: %w", err)
	}
	ca, err := template(title+" authority", now)
	if err != nil {
		return certificates{}, err
	}
	// Of two authorities of one name OpenSSL tries the first alone.
	ca.Subject.CommonName += " " + ca.SerialNumber.Text(16)
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return certificates{}, fmt.Errorf("make an authority: %w", err)
	}
	if ca, err = x509.ParseCertificate(caDER); err != nil {
		return certificates{}, fmt.Errorf("read the authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificates{}, fmt.Errorf("make a key: %w", err)
	}
	leaf, err := template(title, now)
	if err != nil {
		return certificates{}, err
	}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	// Servers are clients of each other.
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	leaf.DNSNames = append([]string{"localhost"}, names...)
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return certificates{}, fmt.Errorf("make a certificate: %w", err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return certificates{}, fmt.Errorf("write a key: %w", err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return certificates{
		authority: block("CERTIFICATE", caDER), cert: block("CERTIFICATE", leafDER), key: block("EC PRIVATE KEY", keyDER),
	}, nil
}

func template(name string, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(certificateLife),
	}, nil
}

// bundle is all authorities that are to be trusted.
func bundle(authorities ...[]byte) []byte { return bytes.Join(authorities, nil) }

// Package certtest creates certificates for tests that use TLS.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A Pair is a self-signed certificate, for a host name and for 127.0.0.1, and its key; both
// in PEM form.
type Pair struct{ Certificate, Key []byte }

// Year returns a Pair that is valid for a year.
func Year(t testing.TB, name string) Pair {
	t.Helper()
	return Between(t, name, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
}

// Between returns a Pair that is valid from notBefore to notAfter.
func Between(t testing.TB, name string, notBefore, notAfter time.Time) Pair {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}),
	}
}

// Roots returns a pool that trusts the Pair only.
func (p Pair) Roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.Certificate)
	return roots
}

// Server returns the configuration of a TLS server that uses the Pair.
func (p Pair) Server(t testing.TB) *tls.Config {
	t.Helper()
	parsed, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{parsed}}
}

// Files names the files of a Pair.
type Files struct{ Certificate, Key string }

// NewFiles names files in a new folder; Write creates them.
func NewFiles(t testing.TB) Files {
	dir := t.TempDir()
	return Files{filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")}
}

// Write replaces the contents of the files.
func (f Files) Write(t testing.TB, p Pair) {
	t.Helper()
	for path, text := range map[string][]byte{f.Certificate: p.Certificate, f.Key: p.Key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

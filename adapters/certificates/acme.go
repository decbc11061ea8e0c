package certificates

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// Authority is a certificate authority that speaks ACME, and what to ask of it. To use
// one is to agree to its terms.
type Authority struct {
	Directory string   // URL; empty is Let's Encrypt
	Roots     string   // PEM file with whom to trust for that URL; empty is the system's
	Email     string   // to which it may write; may be empty
	Domains   []string // a certificate for each
	Storage   string   // folder of keys and certificates; processes that share it share the work
	Listen    string   // address of the server's listener. The authority calls port 443, which must lead there
}

// ACME is certificates got from an authority, and renewed when a third of their time is
// left. It proves that the domains are ours on the server's own listener, by TLS-ALPN,
// so that no second port need be open.
type ACME struct {
	domains []string
	cache   *certmagic.Cache
	config  *certmagic.Config
	log     *slog.Logger
}

// NewACME prepares to ask; Run asks, and stops what NewACME started.
func NewACME(a Authority, log *slog.Logger) (*ACME, error) {
	host, port, err := net.SplitHostPort(a.Listen)
	if err != nil {
		return nil, fmt.Errorf("acme: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("acme: port %q: %w", port, err)
	}
	roots, err := readRoots(a.Roots)
	if err != nil {
		return nil, fmt.Errorf("acme: roots: %w", err)
	}
	if err := os.MkdirAll(a.Storage, 0o700); err != nil {
		return nil, fmt.Errorf("acme: storage: %w", err)
	}
	s := &ACME{domains: a.Domains, log: log}
	// What is worth saying comes as an event; the library's own log would say it in
	// another form.
	silent := zap.NewNop()
	s.cache = certmagic.NewCache(certmagic.CacheOptions{Logger: silent,
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return s.config, nil }})
	s.config = certmagic.New(s.cache, certmagic.Config{Storage: &certmagic.FileStorage{Path: a.Storage}, Logger: silent, OnEvent: s.tell,
		DefaultServerName: a.Domains[0]}) // for who names none
	s.config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(s.config, certmagic.ACMEIssuer{
		CA: cmp.Or(a.Directory, certmagic.LetsEncryptProductionCA), TestCA: a.Directory, Email: a.Email, Agreed: true, TrustedRoots: roots,
		DisableHTTPChallenge: true, ListenHost: host, AltTLSALPNPort: number, Logger: silent})}
	return s, nil
}

// readRoots is nil for an empty path: the system's roots.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return roots, nil
}

// tell writes what the library does.
func (s *ACME) tell(_ context.Context, event string, data map[string]any) error {
	switch event {
	case "cert_obtained":
		s.log.Info("a new certificate is in use", "names", data["identifier"])
	case "cert_failed":
		if err, ok := data["error"].(error); ok && errors.Is(err, context.Canceled) {
			break // the server stops
		}
		s.log.Error("no certificate was issued; it is tried again. The authority must reach this server at port 443 of the domain",
			"domain", data["identifier"], "error", data["error"])
	}
	return nil
}

// TLS implements Source. Handshakes fail until the authority has answered.
func (s *ACME) TLS() *tls.Config {
	config := serve(s.config.GetCertificate)
	config.NextProtos = append(config.NextProtos, s.config.TLSConfig().NextProtos...) // the challenge's
	return config
}

// NotAfter implements Source.
func (s *ACME) NotAfter() time.Time {
	var first time.Time
	for _, domain := range s.domains {
		for _, c := range s.cache.AllMatchingCertificates(domain) {
			if first.IsZero() || c.Leaf.NotAfter.Before(first) {
				first = c.Leaf.NotAfter
			}
		}
	}
	return first
}

// Run implements Source.
func (s *ACME) Run(ctx context.Context) {
	defer s.cache.Stop()
	if err := s.config.ManageAsync(ctx, s.domains); err != nil {
		s.log.Error("certificates are not managed", "error", err)
	}
	<-ctx.Done()
}

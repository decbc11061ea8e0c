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

// Authority describes an ACME certificate authority and the certificates to request. Using
// an authority means agreeing to its terms of service.
type Authority struct {
	Directory string   // URL of the ACME directory; empty means Let's Encrypt
	Roots     string   // PEM file of CA certificates to trust for that URL; empty means the system's
	Email     string   // contact address for the authority; may be empty
	Domains   []string // one certificate is requested for each
	Storage   string   // folder of keys and certificates; processes may share it
	Listen    string   // address of the server's listener. Port 443 of the domains must lead to it
}

// ACME obtains certificates from an authority and renews them when a third of their
// lifetime is left. It answers the TLS-ALPN challenge on the server's own listener, so
// that no second port has to be open.
type ACME struct {
	domains []string
	cache   *certmagic.Cache
	config  *certmagic.Config
	log     *slog.Logger
}

// NewACME returns an ACME source. The caller must call Run, which requests the certificates
// and releases the source's resources.
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
	// report logs the library's events; its own log would repeat them in another format.
	silent := zap.NewNop()
	s.cache = certmagic.NewCache(certmagic.CacheOptions{Logger: silent,
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return s.config, nil }})
	s.config = certmagic.New(s.cache, certmagic.Config{
		Storage:           &certmagic.FileStorage{Path: a.Storage},
		Logger:            silent,
		OnEvent:           s.report,
		DefaultServerName: a.Domains[0], // for clients that send no server name
	})
	s.config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(s.config, certmagic.ACMEIssuer{
		CA:                   cmp.Or(a.Directory, certmagic.LetsEncryptProductionCA),
		TestCA:               a.Directory,
		Email:                a.Email,
		Agreed:               true,
		TrustedRoots:         roots,
		DisableHTTPChallenge: true,
		ListenHost:           host,
		AltTLSALPNPort:       number,
		Logger:               silent,
	})}
	return s, nil
}

// readRoots reads CA certificates. It returns nil, the system's roots, for an empty path.
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
		return nil, fmt.Errorf("%s contains no PEM certificate", path)
	}
	return roots, nil
}

// report logs an event of the library.
func (s *ACME) report(_ context.Context, event string, data map[string]any) error {
	switch event {
	case "cert_obtained":
		s.log.Info("certificate obtained", "names", data["identifier"])
	case "cert_failed":
		if err, ok := data["error"].(error); ok && errors.Is(err, context.Canceled) {
			break // the server is shutting down
		}
		s.log.Error("cannot obtain a certificate; retrying. "+
			"The authority must be able to reach this server at port 443 of the domain",
			"domain", data["identifier"], "error", data["error"])
	}
	return nil
}

// TLS implements Source. Handshakes fail until the first certificate is obtained.
func (s *ACME) TLS() *tls.Config {
	config := serve(s.config.GetCertificate)
	config.NextProtos = append(config.NextProtos, s.config.TLSConfig().NextProtos...) // for the challenge
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
		s.log.Error("cannot start the renewal of certificates", "error", err)
	}
	<-ctx.Done()
}

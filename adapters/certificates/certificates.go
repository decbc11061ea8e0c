// Package certificates provides the TLS certificate of the server, from files or from an
// ACME certificate authority, and renews it while the server runs. It also checks the
// certificates at the bots' public addresses, which may belong to a proxy.
package certificates

import (
	"context"
	"crypto/tls"
	"time"
)

// Source provides the server's certificate.
type Source interface {
	// TLS returns the configuration of the server's listener. Renewed certificates are used
	// without a restart.
	TLS() *tls.Config
	// NotAfter returns when the certificate in use expires; with several certificates, the
	// earliest of these times. It is zero if there is no certificate yet.
	NotAfter() time.Time
	// Run renews the certificate until ctx is cancelled.
	Run(ctx context.Context)
}

// serve returns the settings that all sources share. It offers HTTP/1.1 only: Telegram
// speaks nothing else, and a limit on connections is then a limit on requests.
func serve(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: get}
}

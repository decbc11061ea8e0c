// Package certificates gets the certificate that the server shows, from files or from a
// certificate authority, and keeps it fresh while the server runs. It also looks at the
// certificates that the bots' public addresses show, which may be a proxy's.
package certificates

import (
	"context"
	"crypto/tls"
	"time"
)

// Source has a certificate to show.
type Source interface {
	// TLS is for the server's listener. What is got later is shown without a restart.
	TLS() *tls.Config
	// NotAfter is when the certificate in use expires; of several the first. Zero when
	// there is none yet.
	NotAfter() time.Time
	// Run keeps the certificate fresh until ctx ends.
	Run(ctx context.Context)
}

// serve is what all sources have in common. HTTP/1.1 is all that Telegram speaks, and
// with it a limit on connections is a limit on requests.
func serve(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: get}
}

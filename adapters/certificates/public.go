package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"time"
)

const (
	// checkEvery is how often public certificates are checked. The alerts on them warn days ahead.
	checkEvery = time.Hour
	// checkTimeout bounds one check, including name resolution.
	checkTimeout = 10 * time.Second
)

// Watch checks the certificates of https addresses at once and then every hour until ctx
// is cancelled. It reports when each certificate expires (zero if it could not be read), and
// what is wrong with it.
func Watch(
	ctx context.Context,
	addresses map[string]string,
	report func(name string, notAfter time.Time, err error),
) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		for name, address := range addresses {
			notAfter, err := Check(ctx, address, nil)
			if ctx.Err() != nil {
				return
			}
			report(name, notAfter, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Check returns when the certificate of an https address expires. If the certificate is not
// valid, it returns the reason as well. roots are the trusted CA certificates; nil means the
// system's. Expired intermediate certificates do not count, because clients can build
// another chain.
func Check(ctx context.Context, address string, roots *x509.CertPool) (notAfter time.Time, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return time.Time{}, fmt.Errorf("certificate of %q: not an https address", address)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	// The certificate is verified below, so that the expiry of an invalid one is known, too.
	dialer := tls.Dialer{Config: &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return time.Time{}, fmt.Errorf("certificate of %s: %w", u.Host, err)
	}
	defer conn.Close()
	shown := conn.(*tls.Conn).ConnectionState().PeerCertificates
	options := x509.VerifyOptions{DNSName: u.Hostname(), Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range shown[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := shown[0].Verify(options); err != nil {
		return shown[0].NotAfter, fmt.Errorf("certificate of %s: %w", u.Host, err)
	}
	return shown[0].NotAfter, nil
}

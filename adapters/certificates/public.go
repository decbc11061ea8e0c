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
	// checkEvery is often enough for limits in days.
	checkEvery = time.Hour
	// checkTimeout bounds one check, from the name's look-up to the last byte.
	checkTimeout = 10 * time.Second
)

// Watch looks at the certificates of https addresses, at once and then every hour,
// until ctx ends. It tells when each expires, zero when none could be seen, and what is
// wrong with it.
func Watch(ctx context.Context, addresses map[string]string, tell func(name string, notAfter time.Time, err error)) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		for name, address := range addresses {
			notAfter, err := Check(ctx, address, nil)
			if ctx.Err() != nil {
				return
			}
			tell(name, notAfter, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Check tells when the certificate of an https address expires, also when it is not
// valid, and then why it is not. roots are who is trusted; nil is the system's. The
// chain's other certificates do not count: clients find their way round an old one.
func Check(ctx context.Context, address string, roots *x509.CertPool) (notAfter time.Time, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return time.Time{}, fmt.Errorf("certificate of %q: it is not an https address", address)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	// An expired certificate is to be seen, too: it is verified below.
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

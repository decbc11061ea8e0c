package doctor

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/certificates/certtest"
	"github.com/chatledger/chatledger/cmd/internal/config"
)

// site starts an https server whose certificate expires after a time, and returns its authority.
func site(t *testing.T, ends time.Duration) (address string, roots *x509.CertPool) {
	t.Helper()
	pair := certtest.Between(t, "example.com", time.Now().Add(-24*time.Hour), time.Now().Add(ends))
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = pair.Server(t)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, pair.Roots()
}

func TestDoctor_CertificateExpiry_IsReported(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		ends     time.Duration
		trusted  bool
		severity severity
		says     string
	}{
		{90 * day, true, fine, "valid until"},
		{10*day + time.Hour, true, warning, "it expires in 10 days"},
		{2*day + time.Hour, true, grave, "it expires in 2 days"},
		{-time.Hour, true, grave, "expired"},
		{90 * day, false, grave, "unknown authority"},
	} {
		address, roots := site(t, c.ends)
		x := &examination{roots: roots}
		if !c.trusted {
			x.roots = x509.NewCertPool()
		}
		x.certificate(t.Context(), "shop", config.Bot{PublicURL: address + "/webhook/shop"})
		if f := x.findings[0]; len(x.findings) != 1 || f.Severity != c.severity || !strings.Contains(f.Says, c.says) ||
			(f.Do == "") != (c.severity == fine) {
			t.Errorf("a certificate that expires in %v: %+v", c.ends, x.findings)
		}
	}
}

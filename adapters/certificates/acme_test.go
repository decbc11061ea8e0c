package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"github.com/chatledger/chatledger/adapters/waittest"
)

func TestMain(m *testing.M) {
	// Pebble must neither sleep nor reject nonces at random.
	os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	os.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	os.Exit(m.Run())
}

// lifetime is the validity period of the authority's certificates.
const lifetime = 24 * time.Hour

// authority is Pebble, Let's Encrypt's test server. It validates every domain at a port of
// 127.0.0.1.
type authority struct {
	*httptest.Server
	directory string
	roots     string         // file to trust the directory by
	pool      *x509.CertPool // to trust its certificates by
}

func newAuthority(t *testing.T, port int) authority {
	t.Helper()
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1,
		map[string]ca.Profile{"default": {ValidityPeriod: uint64(lifetime.Seconds())}})
	front := wfe.New(quiet, store, va.New(quiet, 1, port, false, nameServer(t), store), issuer,
		[]string{"pebble.letsencrypt.org"}, false, false, 1, 1)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(roots, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(issuer.GetRootCert(0).PEM()))
	return authority{server, server.URL + wfe.DirectoryPath, roots, pool}
}

// nameServer starts a name server that resolves every name to 127.0.0.1.
func nameServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		answer := new(dns.Msg).SetReply(question)
		if q := question.Question[0]; q.Qtype == dns.TypeA {
			answer.Answer = []dns.RR{
				&dns.A{
					Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
					A:   net.IPv4(127, 0, 0, 1),
				},
			}
		}
		w.WriteMsg(answer)
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); server.ActivateAndServe() }()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}

// The whole exchange: account, order, challenge on the serving listener, certificate. A
// second process finds the certificate in the storage folder and requests none.
func TestACME_NewDomain_CertificateObtained(t *testing.T) {
	t.Parallel()
	const domain = "bot.example.com"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t, l.Addr().(*net.TCPAddr).Port)
	settings := Authority{
		Directory: a.directory,
		Roots:     a.roots,
		Email:     "ops@example.com",
		Domains:   []string{domain},
		Storage:   filepath.Join(t.TempDir(), "kept"),
		Listen:    l.Addr().String(),
	}
	var said waittest.Log
	source, err := NewACME(settings, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, tls.NewListener(l, source.TLS()))
	if !source.NotAfter().IsZero() {
		t.Error("there is a certificate before the request")
	}
	if _, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{ServerName: domain, RootCAs: a.pool}); err == nil {
		t.Error("a handshake succeeded before there was a certificate")
	}
	run(t, source)
	waittest.Until(t, "the certificate is obtained", func() bool { return source.NotAfter().After(time.Now()) })
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: domain, RootCAs: a.pool}},
	}
	defer client.CloseIdleConnections()
	answer, err := client.Get("https://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if in := time.Until(source.NotAfter()); in > lifetime || in < lifetime/2 {
		t.Errorf("the certificate expires in %v, want at most %v and at least half of it", in, lifetime)
	}
	waittest.Until(t, "it is logged", func() bool { return strings.Contains(said.String(), "names=bot.example.com") })

	a.Close()
	second, err := NewACME(settings, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	run(t, second)
	waittest.Until(t, "the second process has the same certificate",
		func() bool { return second.NotAfter().Equal(source.NotAfter()) })
}

func TestACME_ChallengeFails_Logged(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1) // nothing listens there
	var said waittest.Log
	settings := Authority{
		Directory: a.directory,
		Roots:     a.roots,
		Domains:   []string{"bot.example.com"},
		Storage:   t.TempDir(),
		Listen:    "127.0.0.1:0",
	}
	source, err := NewACME(settings, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	run(t, source)
	waittest.Until(t, "it is logged", func() bool {
		return strings.Contains(said.String(), "port 443") &&
			strings.Contains(said.String(), "domain=bot.example.com")
	})
	if !source.NotAfter().IsZero() {
		t.Error("there is a certificate")
	}
}

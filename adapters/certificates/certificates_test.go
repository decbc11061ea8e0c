package certificates

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	patience = 30 * time.Second
	look     = 10 * time.Millisecond
)

// pair makes a self-signed certificate for 127.0.0.1, in PEM form.
func pair(t *testing.T, name string, notBefore, notAfter time.Time) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: notBefore, NotAfter: notAfter, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
}

// year makes a pair that is valid for a year.
func year(t *testing.T, name string) (certificate, key []byte) {
	return pair(t, name, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
}

type files struct{ certificate, key string }

func newFiles(t *testing.T) files {
	dir := t.TempDir()
	return files{filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")}
}

func (f files) write(t *testing.T, certificate, key []byte) {
	t.Helper()
	for path, text := range map[string][]byte{f.certificate: certificate, f.key: key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// lines is a log to look at.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// listen serves a source's certificate and returns the address.
func listen(t *testing.T, config *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l)
	return l.Addr().String()
}

func serveOn(t *testing.T, l net.Listener) {
	server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	ended := make(chan struct{})
	go func() { defer close(ended); server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-ended })
}

// run runs a source until the test is over.
func run(t *testing.T, s Source) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
}

// shown is the name in the certificate that an address shows.
func shown(address string) string {
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for deadline := time.After(patience); !done(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func TestNewFilesAreShownWithoutARestart(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	certificate, key := year(t, "old.example.com")
	f.write(t, certificate, key)
	source, err := Open(f.certificate, f.key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	address := listen(t, source.TLS())
	run(t, source)
	if got := shown(address); got != "old.example.com" {
		t.Fatalf("it shows %s", got)
	}
	certificate, key = year(t, "new.example.com")
	f.write(t, certificate, key)
	eventually(t, "the new certificate is shown", func() bool { return shown(address) == "new.example.com" })
}

// SIGHUP goes to every source of the process, so that this test is alone.
func TestABadPairLeavesTheFormerInUseAndSaysWhy(t *testing.T) {
	certificate, key := year(t, "old.example.com")
	otherCertificate, otherKey := year(t, "other.example.com")
	expired, expiredKey := pair(t, "expired.example.com", time.Now().AddDate(-1, 0, 0), time.Now().Add(-time.Hour))
	early, earlyKey := pair(t, "early.example.com", time.Now().Add(time.Hour), time.Now().AddDate(1, 0, 0))
	f := newFiles(t)
	f.write(t, certificate, key)
	var log lines
	source, err := Open(f.certificate, f.key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	address := listen(t, source.TLS())
	run(t, source)
	hangUp := func() {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	// Until Run listens, the signal would end the process.
	guard := make(chan os.Signal, 1)
	signal.Notify(guard, syscall.SIGHUP)
	defer signal.Stop(guard)
	for _, bad := range []struct {
		name             string
		certificate, key []byte
		want             string
	}{
		{"another key", otherCertificate, key, "private key does not match"},
		{"no PEM", []byte("hello"), key, "failed to find any PEM data"},
		{"cut in the middle", certificate[:100], key, "failed to find any PEM data"},
		{"empty", nil, nil, "failed to find any PEM data"},
		{"expired", expired, expiredKey, "expired at"},
		{"not valid yet", early, earlyKey, "is valid from"},
		{"huge", make([]byte, maxFile+1), key, "is no PEM file"},
	} {
		log.mu.Lock()
		log.text.Reset()
		log.mu.Unlock()
		f.write(t, bad.certificate, bad.key)
		eventually(t, bad.name+" is said", func() bool {
			hangUp()
			return strings.Contains(log.String(), bad.want) && strings.Contains(log.String(), "the former one stays")
		})
		if got := shown(address); got != "old.example.com" {
			t.Errorf("%s: it shows %s", bad.name, got)
		}
	}
	f.write(t, otherCertificate, otherKey)
	eventually(t, "the next good pair is shown", func() bool { hangUp(); return shown(address) == "other.example.com" })
}

func TestWhatCannotBeUsedEndsTheStart(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	if _, err := Open(f.certificate, f.key, slog.Default()); err == nil || !strings.Contains(err.Error(), f.key) {
		t.Errorf("missing files: %v", err)
	}
	certificate, key := pair(t, "a", time.Now().AddDate(-1, 0, 0), time.Now().Add(-time.Hour))
	f.write(t, certificate, key)
	if _, err := Open(f.certificate, f.key, slog.Default()); err == nil || !strings.Contains(err.Error(), "renew it") {
		t.Errorf("expired: %v", err)
	}
}

func TestAnAddressIsCheckedAndReadEvenWhenItIsNotValid(t *testing.T) {
	t.Parallel()
	certificate, key := year(t, "bot.example.com")
	parsed, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	address := "https://" + listen(t, &tls.Config{Certificates: []tls.Certificate{parsed}}) + "/webhook/demo"
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	if notAfter, err := Check(t.Context(), address, roots); err != nil || !notAfter.Equal(parsed.Leaf.NotAfter) {
		t.Errorf("a valid one: %v, %v", notAfter, err)
	}
	if notAfter, err := Check(t.Context(), address, nil); err == nil || !notAfter.Equal(parsed.Leaf.NotAfter) {
		t.Errorf("one that nobody trusts: %v, %v", notAfter, err)
	}
	if _, err := Check(t.Context(), strings.Replace(address, "127.0.0.1", "localhost", 1), roots); err == nil || !strings.Contains(err.Error(), "localhost") {
		t.Errorf("one for another name: %v", err)
	}
	for _, wrong := range []string{"", "http://127.0.0.1/", "https://", "https://127.0.0.1:1/", "::"} {
		if notAfter, err := Check(t.Context(), wrong, nil); err == nil || !notAfter.IsZero() {
			t.Errorf("%q: %v, %v", wrong, notAfter, err)
		}
	}
}

// An address that takes the connection and says nothing holds nobody up for long.
func TestACheckEnds(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			io.ReadFull(conn, make([]byte, 1)) // the check is waiting for an answer
			cancel()
			io.Copy(io.Discard, conn)
		}
	}()
	if _, err := Check(ctx, "https://"+l.Addr().String(), nil); err == nil {
		t.Error("it found a certificate")
	}
}

func TestACertificateMovesToOtherFilesOrStaysWhereItIs(t *testing.T) {
	t.Parallel()
	before, after := newFiles(t), newFiles(t)
	certificate, key := year(t, "before.example.com")
	before.write(t, certificate, key)
	source, err := Open(before.certificate, before.key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	address := listen(t, source.TLS())
	run(t, source)
	if err := source.Move(after.certificate, after.key); err == nil || !strings.Contains(err.Error(), after.certificate) {
		t.Errorf("to files that are missing: %v", err)
	}
	if got := shown(address); got != "before.example.com" {
		t.Errorf("after a move that came to nothing it shows %s", got)
	}
	certificate, key = year(t, "after.example.com")
	after.write(t, certificate, key)
	if err := source.Move(after.certificate, after.key); err != nil {
		t.Fatal(err)
	}
	if got := shown(address); got != "after.example.com" {
		t.Errorf("it shows %s", got)
	}
	certificate, key = year(t, "renewed.example.com")
	after.write(t, certificate, key)
	eventually(t, "the files that it moved to are followed", func() bool { return shown(address) == "renewed.example.com" })
}

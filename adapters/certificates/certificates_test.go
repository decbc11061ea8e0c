package certificates

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/certificates/certtest"
	"github.com/chatledger/chatledger/adapters/waittest"
)

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

// run runs a source until the end of the test.
func run(t *testing.T, s Source) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
}

// shown returns the name in the certificate of an address.
func shown(address string) string {
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestFiles_Changed_ServedWithoutRestart(t *testing.T) {
	t.Parallel()
	f := certtest.NewFiles(t)
	f.Write(t, certtest.Year(t, "old.example.com"))
	source, err := Open(f.Certificate, f.Key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	address := listen(t, source.TLS())
	run(t, source)
	if got := shown(address); got != "old.example.com" {
		t.Fatalf("the server shows %s", got)
	}
	f.Write(t, certtest.Year(t, "new.example.com"))
	waittest.Until(t, "the new certificate is shown", func() bool { return shown(address) == "new.example.com" })
}

// SIGHUP reaches every source of the process, so this test does not run in parallel.
func TestFiles_InvalidPair_PreviousKept(t *testing.T) {
	old, other := certtest.Year(t, "old.example.com"), certtest.Year(t, "other.example.com")
	expired := certtest.Between(t, "expired.example.com", time.Now().AddDate(-1, 0, 0), time.Now().Add(-time.Hour))
	early := certtest.Between(t, "early.example.com", time.Now().Add(time.Hour), time.Now().AddDate(1, 0, 0))
	f := certtest.NewFiles(t)
	f.Write(t, old)
	var log waittest.Log
	source, err := Open(f.Certificate, f.Key, slog.New(slog.NewTextHandler(&log, nil)))
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
	// Before Run handles the signal, it would end the process.
	guard := make(chan os.Signal, 1)
	signal.Notify(guard, syscall.SIGHUP)
	defer signal.Stop(guard)
	for _, bad := range []struct {
		name string
		pair certtest.Pair
		want string
	}{
		{"another key", certtest.Pair{Certificate: other.Certificate, Key: old.Key}, "private key does not match"},
		{"no PEM", certtest.Pair{Certificate: []byte("hello"), Key: old.Key}, "failed to find any PEM data"},
		{"cut in the middle", certtest.Pair{Certificate: old.Certificate[:100], Key: old.Key}, "failed to find any PEM data"},
		{"empty", certtest.Pair{}, "failed to find any PEM data"},
		{"expired", expired, "expired at"},
		{"not valid yet", early, "is not valid before"},
		{"huge", certtest.Pair{Certificate: make([]byte, maxFile+1), Key: old.Key}, "too many for a PEM file"},
	} {
		before := len(log.String())
		f.Write(t, bad.pair)
		waittest.Until(t, bad.name+" is logged", func() bool {
			hangUp()
			said := log.String()[before:]
			return strings.Contains(said, bad.want) && strings.Contains(said, "keeping the previous one")
		})
		if got := shown(address); got != "old.example.com" {
			t.Errorf("%s: the server shows %s", bad.name, got)
		}
	}
	f.Write(t, other)
	waittest.Until(t, "the next good pair is shown",
		func() bool { hangUp(); return shown(address) == "other.example.com" })
}

func TestOpen_UnusablePair_Error(t *testing.T) {
	t.Parallel()
	f := certtest.NewFiles(t)
	if _, err := Open(f.Certificate, f.Key, slog.Default()); err == nil || !strings.Contains(err.Error(), f.Key) {
		t.Errorf("missing files: %v", err)
	}
	f.Write(t, certtest.Between(t, "a", time.Now().AddDate(-1, 0, 0), time.Now().Add(-time.Hour)))
	if _, err := Open(f.Certificate, f.Key, slog.Default()); err == nil ||
		!strings.Contains(err.Error(), "renew it") {
		t.Errorf("expired: %v", err)
	}
}

func TestCheck_InvalidCertificate_ExpiryReturned(t *testing.T) {
	t.Parallel()
	pair := certtest.Year(t, "bot.example.com")
	config, roots := pair.Server(t), pair.Roots()
	notAfter := config.Certificates[0].Leaf.NotAfter
	address := "https://" + listen(t, config) + "/webhook/demo"
	if got, err := Check(t.Context(), address, roots); err != nil || !got.Equal(notAfter) {
		t.Errorf("a valid certificate: %v, %v", got, err)
	}
	if got, err := Check(t.Context(), address, nil); err == nil || !got.Equal(notAfter) {
		t.Errorf("an untrusted certificate: %v, %v", got, err)
	}
	other := strings.Replace(address, "127.0.0.1", "localhost", 1)
	if _, err := Check(t.Context(), other, roots); err == nil || !strings.Contains(err.Error(), "localhost") {
		t.Errorf("a certificate for another name: %v", err)
	}
	for _, wrong := range []string{"", "http://127.0.0.1/", "https://", "https://127.0.0.1:1/", "::"} {
		if got, err := Check(t.Context(), wrong, nil); err == nil || !got.IsZero() {
			t.Errorf("%q: %v, %v", wrong, got, err)
		}
	}
}

// A server that accepts the connection and never answers does not block the check.
func TestCheck_SilentServer_Ends(t *testing.T) {
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
		t.Error("no error from a server that does not answer")
	}
}

func TestMove_MissingFiles_PreviousKept(t *testing.T) {
	t.Parallel()
	before, after := certtest.NewFiles(t), certtest.NewFiles(t)
	before.Write(t, certtest.Year(t, "before.example.com"))
	source, err := Open(before.Certificate, before.Key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	address := listen(t, source.TLS())
	run(t, source)
	if err := source.Move(after.Certificate, after.Key); err == nil ||
		!strings.Contains(err.Error(), after.Certificate) {
		t.Errorf("move to missing files: %v", err)
	}
	if got := shown(address); got != "before.example.com" {
		t.Errorf("after a failed move it shows %s", got)
	}
	after.Write(t, certtest.Year(t, "after.example.com"))
	if err := source.Move(after.Certificate, after.Key); err != nil {
		t.Fatal(err)
	}
	if got := shown(address); got != "after.example.com" {
		t.Errorf("the server shows %s", got)
	}
	after.Write(t, certtest.Year(t, "renewed.example.com"))
	waittest.Until(t, "changes of the new files are loaded",
		func() bool { return shown(address) == "renewed.example.com" })
}

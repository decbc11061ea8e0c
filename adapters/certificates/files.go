package certificates

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// lookEvery is how often the files are read. It is short because an administrator who renews
	// them checks the result a moment later.
	lookEvery = 5 * time.Second
	// maxFile, in bytes, is over ten times the size of a long chain with large keys.
	maxFile = 256 << 10
)

// Files reads a certificate and its key from two PEM files, again when they change and on
// SIGHUP. If the new pair is not usable, the previous one stays in use.
type Files struct {
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]

	mu    sync.Mutex
	paths paths
	tried contents
	seen  contents // when they were last read
}

// paths names the files of a certificate and its key.
type paths struct{ certificate, key string }

// contents is a hash of the files' contents, or of the error from reading them. It shows
// whether they have changed.
type contents [sha256.Size]byte

// Open reads a certificate with its chain, and its key.
func Open(certificate, key string, log *slog.Logger) (*Files, error) {
	f := &Files{log: log}
	if err := f.move(paths{certificate, key}); err != nil {
		return nil, err
	}
	return f, nil
}

// Move reads the certificate from other files from now on. If they are not usable, it
// returns an error and changes nothing.
func (f *Files) Move(certificate, key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paths == (paths{certificate, key}) {
		return nil
	}
	if err := f.move(paths{certificate, key}); err != nil {
		return err
	}
	f.report()
	return nil
}

func (f *Files) move(to paths) error {
	pair, found, err := to.read()
	if err != nil {
		return err
	}
	f.paths, f.tried, f.seen = to, found, found
	f.current.Store(pair)
	return nil
}

// TLS implements Source.
func (f *Files) TLS() *tls.Config {
	return serve(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.current.Load(), nil })
}

// NotAfter implements Source.
func (f *Files) NotAfter() time.Time { return f.current.Load().Leaf.NotAfter }

// Run implements Source.
func (f *Files) Run(ctx context.Context) {
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangUp:
			f.look(true)
		case <-tick.C:
			f.look(false)
		}
	}
}

// look reads the files and uses the pair if it is new and valid. The two files never change
// at the same moment, so a change counts when two reads in a row have found it, or at once
// when requested is set, by SIGHUP.
func (f *Files) look(requested bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pair, found, err := f.paths.read()
	settled := found == f.seen
	f.seen = found
	if !requested && (found == f.tried || !settled) {
		return
	}
	f.tried = found
	if err != nil {
		f.log.Error("new certificate rejected; keeping the previous one", "error", err, "expires", f.NotAfter())
		return
	}
	f.current.Store(pair)
	f.report()
}

func (f *Files) report() {
	leaf := f.current.Load().Leaf
	f.log.Info("certificate loaded", "names", leaf.DNSNames, "expires", leaf.NotAfter)
}

// read reads the files and checks that they are a matching and currently valid pair.
func (p paths) read() (*tls.Certificate, contents, error) {
	certificate, err := readFile(p.certificate)
	key, keyErr := readFile(p.key)
	if err := errors.Join(err, keyErr); err != nil {
		return nil, sha256.Sum256([]byte(err.Error())), fmt.Errorf("certificate: %w", err)
	}
	first := sha256.Sum256(certificate)
	found := contents(sha256.Sum256(append(first[:], key...)))
	pair, err := tls.X509KeyPair(certificate, key)
	switch now := time.Now(); {
	case err != nil:
		return nil, found, fmt.Errorf("certificate %s with key %s: %w", p.certificate, p.key, err)
	case pair.Leaf.NotAfter.Before(now):
		return nil, found, fmt.Errorf("certificate %s expired at %s: renew it",
			p.certificate, pair.Leaf.NotAfter.Format(time.RFC3339))
	case pair.Leaf.NotBefore.After(now):
		return nil, found, fmt.Errorf("certificate %s is not valid before %s: check this machine's clock",
			p.certificate, pair.Leaf.NotBefore.Format(time.RFC3339))
	}
	return &pair, found, nil
}

// readFile reads a small file.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, too many for a PEM file of a certificate", path, info.Size())
	}
	return os.ReadFile(path)
}

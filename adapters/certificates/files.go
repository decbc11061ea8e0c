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
	// lookEvery is how often the files are read: whoever renews them looks at the result
	// a moment later.
	lookEvery = 5 * time.Second
	// maxFile is over ten times a long chain with large keys.
	maxFile = 256 << 10
)

// Files is a certificate in two PEM files. When they change, or with SIGHUP, they are
// read again; a pair that cannot be used leaves the former one in use.
type Files struct {
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]

	mu    sync.Mutex
	paths paths
	tried contents
	seen  contents // at the last look
}

// paths are where a certificate and its key are.
type paths struct{ certificate, key string }

// contents is what the files hold, or why they cannot be read, to be told from what
// they hold later.
type contents [sha256.Size]byte

// Open reads a certificate with its chain, and its key.
func Open(certificate, key string, log *slog.Logger) (*Files, error) {
	f := &Files{log: log}
	if err := f.move(paths{certificate, key}); err != nil {
		return nil, err
	}
	return f, nil
}

// Move has the certificate come from other files from now on. When these cannot be used it
// returns why, and everything stays as it was.
func (f *Files) Move(certificate, key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paths == (paths{certificate, key}) {
		return nil
	}
	if err := f.move(paths{certificate, key}); err != nil {
		return err
	}
	f.tell()
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

// look shows what the files hold from now on, if it is new and a pair. Two files do not
// change at one moment: unless somebody asks, what stands there twice is meant.
func (f *Files) look(asked bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pair, found, err := f.paths.read()
	settled := found == f.seen
	f.seen = found
	if !asked && (found == f.tried || !settled) {
		return
	}
	f.tried = found
	if err != nil {
		f.log.Error("the new certificate is not used; the former one stays", "error", err, "expires", f.NotAfter())
		return
	}
	f.current.Store(pair)
	f.tell()
}

func (f *Files) tell() {
	leaf := f.current.Load().Leaf
	f.log.Info("a new certificate is in use", "names", leaf.DNSNames, "expires", leaf.NotAfter)
}

// read reads the files and checks that they are a pair that is valid now.
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
		return nil, found, fmt.Errorf("certificate %s expired at %s: renew it", p.certificate, pair.Leaf.NotAfter.Format(time.RFC3339))
	case pair.Leaf.NotBefore.After(now):
		return nil, found, fmt.Errorf("certificate %s is valid from %s: use it then, or set the clock", p.certificate, pair.Leaf.NotBefore.Format(time.RFC3339))
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
		return nil, fmt.Errorf("%s has %d bytes: that is no PEM file of a certificate", path, info.Size())
	}
	return os.ReadFile(path)
}

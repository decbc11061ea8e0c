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
	certificate, key string
	log              *slog.Logger
	current          atomic.Pointer[tls.Certificate]
	tried            contents
}

// contents is what the files hold, or why they cannot be read, to be told from what
// they hold later.
type contents [sha256.Size]byte

// Open reads a certificate with its chain, and its key.
func Open(certificate, key string, log *slog.Logger) (*Files, error) {
	f := &Files{certificate: certificate, key: key, log: log}
	var pair *tls.Certificate
	var err error
	if pair, f.tried, err = f.read(); err != nil {
		return nil, err
	}
	f.current.Store(pair)
	return f, nil
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
	seen := f.tried
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangUp:
			pair, found, err := f.read()
			f.use(pair, found, err)
		case <-tick.C:
			// Two files do not change at one moment: what stands there twice is meant.
			pair, found, err := f.read()
			if found != f.tried && found == seen {
				f.use(pair, found, err)
			}
			seen = found
		}
	}
}

// use shows a pair from now on, if it is one.
func (f *Files) use(pair *tls.Certificate, found contents, err error) {
	f.tried = found
	if err != nil {
		f.log.Error("the new certificate is not used; the former one stays", "error", err, "expires", f.NotAfter())
		return
	}
	f.current.Store(pair)
	f.log.Info("a new certificate is in use", "names", pair.Leaf.DNSNames, "expires", pair.Leaf.NotAfter)
}

// read reads the files and checks that they are a pair that is valid now.
func (f *Files) read() (*tls.Certificate, contents, error) {
	certificate, err := readFile(f.certificate)
	key, keyErr := readFile(f.key)
	if err := errors.Join(err, keyErr); err != nil {
		return nil, sha256.Sum256([]byte(err.Error())), fmt.Errorf("certificate: %w", err)
	}
	first := sha256.Sum256(certificate)
	found := contents(sha256.Sum256(append(first[:], key...)))
	pair, err := tls.X509KeyPair(certificate, key)
	switch now := time.Now(); {
	case err != nil:
		return nil, found, fmt.Errorf("certificate %s with key %s: %w", f.certificate, f.key, err)
	case pair.Leaf.NotAfter.Before(now):
		return nil, found, fmt.Errorf("certificate %s expired at %s: renew it", f.certificate, pair.Leaf.NotAfter.Format(time.RFC3339))
	case pair.Leaf.NotBefore.After(now):
		return nil, found, fmt.Errorf("certificate %s is valid from %s: use it then, or set the clock", f.certificate, pair.Leaf.NotBefore.Format(time.RFC3339))
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

package pgdev

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// role is the name of the server's superuser and of the program's database.
const role = "chatledger"

// credentials are the parts of the connection string that differ between
// directories. The dsn file is their only copy.
type credentials struct {
	password string
	port     int
}

func (c credentials) dsn() string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(role, c.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)),
		Path:     "/" + role,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// newPassword returns at least 128 bits of randomness in letters and digits, which
// need no escaping in a URL or in SQL.
func newPassword() string { return rand.Text() }

// readDSN returns false when the file is missing or was not written by writeDSN.
func readDSN(file string) (credentials, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return credentials{}, false
	}
	u, err := url.Parse(strings.TrimSpace(string(b)))
	if err != nil || u.User == nil || u.User.Username() != role {
		return credentials{}, false
	}
	password, _ := u.User.Password()
	port, err := strconv.Atoi(u.Port())
	if err != nil || password == "" {
		return credentials{}, false
	}
	return credentials{password: password, port: port}, true
}

// IsDSNOf reports whether dsn is the connection string of the server in dir, which need not
// be running.
func IsDSNOf(dir, dsn string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "dsn"))
	return err == nil && strings.TrimSpace(string(b)) == strings.TrimSpace(dsn)
}

// writeDSN replaces the file atomically: no reader sees half of it, and an older file
// with a looser mode does not survive.
func writeDSN(file, dsn string) error {
	if b, err := os.ReadFile(file); err == nil && string(b) == dsn+"\n" {
		return os.Chmod(file, 0o600)
	}
	tmp := file + ".new"
	_ = os.Remove(tmp) // a killed run may have left it with another mode
	if err := os.WriteFile(tmp, []byte(dsn+"\n"), 0o600); err != nil {
		return fmt.Errorf("write connection string: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("write connection string: %w", err)
	}
	return nil
}

const (
	// Ports come from this range. It lies below the range that operating systems use
	// for outgoing connections (from 32768 on Linux, 49152 on macOS), so a
	// directory rarely finds its port in use.
	firstPort, ports = 20000, 10000

	// portProbes limits the search: when a hundred random ports are all in use, the
	// cause is not chance.
	portProbes = 100
)

// choosePort returns the configured port, the last one used, or a random free one.
func choosePort(c Config, last int) (int, error) {
	if c.Port != 0 {
		if err := probePort(c.Port); err != nil {
			return 0, fmt.Errorf("port %d is in use: stop the program that uses it or choose another port: %w", c.Port,
				err)
		}
		return c.Port, nil
	}
	if last != 0 && !c.Fast && probePort(last) == nil {
		return last, nil
	}
	var err error
	for range portProbes {
		n, rerr := rand.Int(rand.Reader, big.NewInt(ports))
		if rerr != nil {
			return 0, rerr
		}
		port := firstPort + int(n.Int64())
		if err = probePort(port); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port on 127.0.0.1 in %d tries: %w", portProbes, err)
}

func probePort(port int) error {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close()
}

package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/chatledger/chatledger/adapters/certificates"
	"github.com/chatledger/chatledger/adapters/guard"
)

// Server is the part of a bots file about the server itself. A running server applies changes to it,
// except those that WithinReach names.
type Server struct {
	Allow          Words `yaml:"allow"`           // sources of webhook requests: telegram, addresses, ranges
	TrustedProxies Words `yaml:"trusted_proxies"` // their X-Forwarded-For is trusted
	Connections    int   `yaml:"connections"`     // open at once; 0 means the guard's own limit
	PerAddress     int   `yaml:"connections_per_address"`
	TLS            TLS   `yaml:"tls"`
	Plaintext      Words `yaml:"plaintext"` // hosts to which tokens may be sent over plain HTTP
	OIDC           *OIDC `yaml:"oidc"`      // provider of logins; nil means passwords only
}

// TLS is the source of the certificate: files or a CA. Without both, a proxy in front terminates TLS.
type TLS struct {
	Certificate string `yaml:"certificate"` // PEM file with the chain, the server's own first
	Key         string `yaml:"key"`         // PEM file
	ACME        *ACME  `yaml:"acme"`
}

// ACME is a certificate authority (CA) and the account there.
type ACME struct {
	Domains   []string `yaml:"domains"`
	Email     string   `yaml:"email"`     // for messages of the CA; may be empty
	Directory string   `yaml:"directory"` // of the CA; empty means Let's Encrypt
	Roots     string   `yaml:"roots"`     // PEM file of trusted authorities, for a private CA
	Storage   string   `yaml:"storage"`   // folder for keys and certificates, shared by all processes
}

// Words are one word or a list of them.
type Words []string

// UnmarshalYAML implements yaml.Unmarshaler.
func (w *Words) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*w = Words{node.Value}
		return nil
	}
	return node.Decode((*[]string)(w))
}

// maxServerConnections is more than one process can serve within its memory.
const maxServerConnections = 100_000

// check checks the settings. Its error joins every mistake.
func (c *Server) check() error {
	_, err := c.Rules()
	wrong := []error{err}
	bounded := func(field string, n int) {
		if n < 0 || n > maxServerConnections {
			wrong = append(wrong,
				In(fmt.Errorf("%s: 1 to %d, or 0 for the default", field, maxServerConnections), field))
		}
	}
	bounded("connections", c.Connections)
	bounded("connections_per_address", c.PerAddress)
	return errors.Join(append(wrong, In(c.TLS.check(), "tls"), In(c.OIDC.check(), "oidc"))...)
}

func (t TLS) check() error {
	switch {
	case (t.Certificate == "") != (t.Key == ""):
		return errors.New("tls: certificate and key are two PEM files: give both or neither")
	case t.ACME == nil:
		return nil
	case t.Certificate != "":
		return errors.New("tls: certificate and acme exclude each other")
	case len(t.ACME.Domains) == 0:
		return In(errors.New("tls: acme: domains are missing: give the host names of the bots' public_url"), "acme")
	}
	return nil
}

// Rules returns the settings as rules of the guard.
func (c *Server) Rules() (guard.Rules, error) {
	var wrong []error
	read := func(field string, words []string) []netip.Prefix {
		ranges, err := guard.ParseRanges(words)
		if err != nil {
			wrong = append(wrong, In(fmt.Errorf("%s: %w", field, err), field))
		}
		return ranges
	}
	if slices.Contains(c.TrustedProxies, "telegram") {
		wrong = append(wrong,
			In(errors.New("trusted_proxies: Telegram is not a proxy; give the addresses of your proxies"), "trusted_proxies"))
	}
	rules := guard.Rules{
		Allowed: read("allow", c.Allow), Proxies: read("trusted_proxies", c.TrustedProxies),
		Connections: c.Connections, PerAddress: c.PerAddress,
	}
	return rules, errors.Join(wrong...)
}

// WithinReach returns the settings of the file that a server running with settings c can apply, and the
// names of those that need a restart: a listener cannot change whether and by which kind of certificate
// it speaks TLS, and the account at an authority is opened once.
func (c Server) WithinReach(file Server) (reached Server, later []string) {
	reached = file
	switch was, is := c.TLS, file.TLS; {
	case was.by() != is.by():
		later = []string{fmt.Sprintf("tls (%s, now %s)", is.by(), was.by())}
	case was.ACME != nil:
		later = Differing("tls: acme: ", *was.ACME, *is.ACME)
	}
	if later != nil {
		reached.TLS = c.TLS
	}
	return reached, later
}

// by returns the kind of source of the certificate.
func (t TLS) by() string {
	switch {
	case t.Certificate != "":
		return "certificate files"
	case t.ACME != nil:
		return "acme"
	}
	return "none"
}

// Differing returns the YAML names of the settings that differ.
func Differing[T any](prefix string, one, other T) (names []string) {
	was, is := reflect.ValueOf(one), reflect.ValueOf(other)
	for field := range was.Type().Fields() {
		if !reflect.DeepEqual(was.FieldByIndex(field.Index).Interface(), is.FieldByIndex(field.Index).Interface()) {
			names = append(names, prefix+field.Tag.Get("yaml"))
		}
	}
	return names
}

// defaultStorage is the folder for keys and certificates of a CA, below the working directory.
const defaultStorage = ".data/certificates"

// Source opens the source of the certificate; nil when a proxy terminates TLS.
func (t TLS) Source(listen string, log *slog.Logger) (certificates.Source, error) {
	switch {
	case t.Certificate != "":
		return certificates.Open(t.Certificate, t.Key, log)
	case t.ACME != nil:
		return certificates.NewACME(certificates.Authority{
			Domains: t.ACME.Domains, Email: t.ACME.Email, Directory: t.ACME.Directory, Roots: t.ACME.Roots,
			Storage: cmp.Or(t.ACME.Storage, defaultStorage), Listen: listen,
		}, log)
	}
	return nil, nil
}

package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"

	"go.yaml.in/yaml/v3"

	"github.com/chatledger/chatledger/adapters/certificates"
	"github.com/chatledger/chatledger/adapters/guard"
)

// serverConfig is the part of a bots file about the server itself. It is read at the
// start; only the files of a certificate are read again.
type serverConfig struct {
	Allow          words     `yaml:"allow"`           // who may reach the bots' webhooks: telegram, addresses, ranges; empty is everybody
	TrustedProxies words     `yaml:"trusted_proxies"` // whose X-Forwarded-For is believed
	Connections    int       `yaml:"connections"`     // open at once; 0 is the guard's own limit
	PerAddress     int       `yaml:"connections_per_address"`
	TLS            tlsConfig `yaml:"tls"`
}

// tlsConfig is where the certificate comes from: from files or from a CA. Neither means
// that a proxy in front speaks TLS.
type tlsConfig struct {
	Certificate string      `yaml:"certificate"` // PEM file with the chain, the server's own first
	Key         string      `yaml:"key"`         // PEM file
	ACME        *acmeConfig `yaml:"acme"`
}

type acmeConfig struct {
	Domains   []string `yaml:"domains"`
	Email     string   `yaml:"email"`     // to which the CA may write; may be empty
	Directory string   `yaml:"directory"` // of the CA; empty is Let's Encrypt
	Roots     string   `yaml:"roots"`     // PEM file, for a CA of one's own
	Storage   string   `yaml:"storage"`   // folder for keys and certificates, shared by all processes
}

// words are one word or a list of them.
type words []string

// UnmarshalYAML implements yaml.Unmarshaler.
func (w *words) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*w = words{node.Value}
		return nil
	}
	return node.Decode((*[]string)(w))
}

// maxServerConnections is more than one process can serve within its memory.
const maxServerConnections = 100_000

// check tells what is wrong with the settings.
func (c *serverConfig) check() error {
	if _, err := c.guard(); err != nil {
		return err
	}
	if c.Connections < 0 || c.Connections > maxServerConnections || c.PerAddress < 0 || c.PerAddress > maxServerConnections {
		return fmt.Errorf("connections and connections_per_address are 1 to %d, or 0 for the default", maxServerConnections)
	}
	t := c.TLS
	switch {
	case (t.Certificate == "") != (t.Key == ""):
		return errors.New("tls: certificate and key are two PEM files: give both or neither")
	case t.ACME == nil:
		return nil
	case t.Certificate != "":
		return errors.New("tls: certificate and acme exclude each other")
	case len(t.ACME.Domains) == 0:
		return errors.New("tls: acme: domains are missing: the names in the bots' public_url")
	}
	return nil
}

// guard is the settings as the guard goes by them.
func (c *serverConfig) guard() (guard.Config, error) {
	allowed, err := guard.ParseRanges(c.Allow)
	if err != nil {
		return guard.Config{}, fmt.Errorf("allow: %w", err)
	}
	for _, word := range c.TrustedProxies {
		if word == "telegram" {
			return guard.Config{}, errors.New("trusted_proxies: Telegram is no proxy; name the addresses of yours")
		}
	}
	proxies, err := guard.ParseRanges(c.TrustedProxies)
	if err != nil {
		return guard.Config{}, fmt.Errorf("trusted_proxies: %w", err)
	}
	return guard.Config{Allowed: allowed, Proxies: proxies, Connections: c.Connections, PerAddress: c.PerAddress}, nil
}

// defaultStorage is where keys and certificates of a CA are kept, below the folder
// that the program runs in.
const defaultStorage = ".data/certificates"

// source is where the certificate comes from; nil when a proxy speaks TLS.
func (t tlsConfig) source(listen string, log *slog.Logger) (certificates.Source, error) {
	switch {
	case t.Certificate != "":
		return certificates.Open(t.Certificate, t.Key, log)
	case t.ACME != nil:
		return certificates.NewACME(certificates.Authority{Domains: t.ACME.Domains, Email: t.ACME.Email, Directory: t.ACME.Directory,
			Roots: t.ACME.Roots, Storage: cmp.Or(t.ACME.Storage, defaultStorage), Listen: listen}, log)
	}
	return nil, nil
}

package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// ReadToServe is Read for a server: it also rejects a file by which tokens would be sent over a network
// unencrypted, unless the file names the hosts in server: plaintext.
func ReadToServe(path string) (File, error) {
	file, err := Read(path)
	if err != nil {
		return file, err
	}
	if wrong := file.Unencrypted(); len(wrong) > 0 {
		return File{}, wrong
	}
	return file, nil
}

// Unencrypted returns a mistake for each URL of the file by which a token would be sent over an
// unencrypted connection to another machine that server: plaintext does not name.
func (f File) Unencrypted() Mistakes {
	r := reading{path: f.text.path, root: f.text.root}
	for _, name := range slices.Sorted(maps.Keys(f.Bots)) {
		b := f.Bots[name]
		check := func(system, address, token string) {
			if err := f.Server.encrypted(address); token != "" && err != nil {
				r.tell("bot "+name+": ", In(fmt.Errorf("%s: url: %w", system, err), system, "url"), "bots", name)
			}
		}
		if b.CRM != nil {
			check("crm", b.CRM.URL, b.CRM.Token)
		}
		if b.Zendesk != nil {
			check("zendesk", b.Zendesk.URL, b.Zendesk.Token)
		}
		if b.Model != nil {
			check("model", b.Model.URL, b.Model.Key)
		}
	}
	if o := f.Server.OIDC; o != nil {
		if err := f.Server.encrypted(o.Issuer); err != nil {
			r.tell("server: ", In(fmt.Errorf("oidc: issuer: %w", err), "oidc", "issuer"), "server")
		}
	}
	return r.wrong
}

// CheckTelegramURL returns an error when bots' tokens, which are in the address of each call, would
// be sent over an unencrypted connection.
func (c Server) CheckTelegramURL(address string) error {
	if err := c.encrypted(address); err != nil {
		return fmt.Errorf("--telegram-url: %w", err)
	}
	return nil
}

// encrypted returns an error unless calls to a URL are encrypted, stay on this machine, or go to a host
// that is named as one with which plain HTTP is wanted. It quotes only the host: a URL may be secret.
func (c Server) encrypted(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || local(u.Hostname()) || slices.Contains(c.Plaintext, u.Hostname()) {
		return nil
	}
	return fmt.Errorf("a token would be sent to %s unencrypted: use https, or name the host in `server: plaintext`",
		u.Hostname())
}

// local reports whether a host is this machine.
func local(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && address.IsLoopback()
}

// errPlainDatabase is returned for an address by which PostgreSQL may be reached without encryption
// although that was not asked for.
var errPlainDatabase = errors.New("the connection to the database may be unencrypted: add sslmode=verify-full to the " +
	"database URL, or sslmode=disable if nobody else is on that network")

// CheckDatabase returns an error when the sessions of a database on another machine may be unencrypted
// without the address saying so, and a warning when it says so or the server is not verified.
func CheckDatabase(dsn string) (warning string, err error) {
	parsed, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return "", nil // the attempt to connect reports it
	}
	plain, encrypted, unverified := false, false, false
	// The ways to connect that are tried in turn.
	ways := append([]*pgconn.FallbackConfig{{Host: parsed.Host, TLSConfig: parsed.TLSConfig}}, parsed.Fallbacks...)
	for _, w := range ways {
		switch t := w.TLSConfig; {
		case local(w.Host) || strings.HasPrefix(w.Host, "/"): // a Unix socket
		case t == nil:
			plain = true
		default:
			encrypted = true
			unverified = unverified || t.InsecureSkipVerify && t.VerifyPeerCertificate == nil && t.VerifyConnection == nil
		}
	}
	switch {
	case plain && encrypted: // sslmode is not given, or is prefer or allow
		return "", errPlainDatabase
	case plain:
		return "the connection to the database is not encrypted (sslmode=disable)", nil
	case unverified:
		return "the connection to the database is encrypted, but its server is not verified: use sslmode=verify-full", nil
	}
	return "", nil
}

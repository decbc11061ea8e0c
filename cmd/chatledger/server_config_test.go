package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/cmd/internal/config"
)

const serverBots = "bots: {demo: {token: \"1:a\", secret: s}}\n"

func TestServerSettings_ValidFile_Read(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"", "[] [] 0 0"},
		{"server: {allow: telegram}", "[149.154.160.0/20 91.108.4.0/22] [] 0 0"},
		{"server: {allow: [telegram, 203.0.113.7], trusted_proxies: ['2001:db8::/32', 10.0.0.0/8], " +
			"connections: 100, connections_per_address: 10}",
			"[149.154.160.0/20 91.108.4.0/22 203.0.113.7/32] [2001:db8::/32 10.0.0.0/8] 100 10"},
		{"server: {tls: {certificate: a.pem, key: b.pem}}", "[] [] 0 0"},
		{"server: {tls: {acme: {domains: [bot.example.com]}}}", "[] [] 0 0"},
	} {
		path := filepath.Join(t.TempDir(), "bots.yaml")
		if err := os.WriteFile(path, []byte(serverBots+c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.ReadBots(path); err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		file, err := config.Read(path)
		server := file.Server
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		g, err := server.Rules()
		if got := fmt.Sprint(g.Allowed, g.Proxies, g.Connections, g.PerAddress); err != nil || got != c.want {
			t.Errorf("%s: %s (%v), want %s", c.text, got, err, c.want)
		}
	}
}

func TestServerSettings_Mistakes_Named(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"server: {allow: everybody}":                                    `allow: "everybody"`,
		"server: {allow: [10.0.0.0/40]}":                                `"10.0.0.0/40"`,
		"server: {trusted_proxies: [nginx]}":                            `trusted_proxies: "nginx"`,
		"server: {trusted_proxies: telegram}":                           "Telegram is not a proxy",
		"server: {connections: -1}":                                     "connections",
		"server: {connections_per_address: 1000000}":                    "connections_per_address",
		"server: {tls: {key: b.pem}}":                                   "give both or neither",
		"server: {tls: {certificate: a, key: b, acme: {domains: [a]}}}": "exclude each other",
		"server: {tls: {acme: {email: ops@example.com}}}":               "domains are missing",
	} {
		path := filepath.Join(t.TempDir(), "bots.yaml")
		if err := os.WriteFile(path, []byte(serverBots+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Read(path); err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", text, err)
		}
	}
	path := filepath.Join(t.TempDir(), "bots.yaml")
	if err := os.WriteFile(path, []byte(serverBots+"server: {alow: telegram}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.ReadBots(path); err == nil || !strings.Contains(err.Error(), "alow") {
		t.Errorf("an unknown field: %v", err)
	}
}

func TestServerSettings_TLS_SourceChosen(t *testing.T) {
	t.Parallel()
	if source, err := (config.TLS{}).Source("127.0.0.1:0", slog.Default()); source != nil || err != nil {
		t.Errorf("none: %v, %v", source, err)
	}
	asked := config.TLS{ACME: &config.ACME{Domains: []string{"bot.example.com"}, Storage: t.TempDir()}}
	if source, err := asked.Source("127.0.0.1:443", slog.Default()); source == nil || err != nil {
		t.Errorf("an authority: %v, %v", source, err)
	}
	asked.ACME.Roots = filepath.Join(t.TempDir(), "missing.pem")
	if _, err := asked.Source("127.0.0.1:443", slog.Default()); err == nil ||
		!strings.Contains(err.Error(), "missing.pem") {
		t.Errorf("roots that are missing: %v", err)
	}
	if _, err := (config.TLS{Certificate: "missing.pem", Key: "missing.key"}).Source("", slog.Default()); err == nil {
		t.Error("files that are missing are taken")
	}
}

package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A session of the database is encrypted, stays on this machine, or is plain because the address says so.
func TestCheckDatabase_SSLMode_PlainOnlyIfSaid(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	for dsn, want := range map[string]string{
		"postgres://u:p@db.example.com/x":                     "may be unencrypted",
		"postgres://u:p@db.example.com/x?sslmode=prefer":      "may be unencrypted",
		"postgres://u:p@db.example.com/x?sslmode=allow":       "may be unencrypted",
		"host=db.example.com user=u":                          "may be unencrypted",
		"postgres://u:p@127.0.0.1,db.example.com/x":           "may be unencrypted",
		"postgres://u:p@db.example.com/x?sslmode=disable":     "is not encrypted",
		"postgres://u:p@db.example.com/x?sslmode=require":     "not verified",
		"postgres://u:p@db.example.com/x?sslmode=verify-full": "",
		"postgres://u:p@localhost/x":                          "",
		"postgres://u:p@[::1]/x":                              "",
		"postgres:///x?host=/run/postgresql":                  "",
	} {
		warning, err := CheckDatabase(dsn)
		if wanted := strings.HasPrefix(want, "may be"); wanted != errors.Is(err, errPlainDatabase) {
			t.Errorf("%s: %v", dsn, err)
		} else if !wanted && (want == "") != (warning == "") || !wanted && !strings.Contains(warning, want) {
			t.Errorf("%s: %q, want %q", dsn, warning, want)
		}
	}
}

// A token goes to another machine by TLS, or to a host that the file names.
func TestReadToServe_PlainHTTP_RejectedUnlessNamed(t *testing.T) {
	t.Parallel()
	read := func(bot, server string) error {
		path := filepath.Join(t.TempDir(), "bots.yaml")
		text := "bots:\n  shop:\n    token: 1:x\n    secret: s\n    " + bot + "\nserver: {" + server + "}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadToServe(path)
		return err
	}
	const (
		crm     = "crm: {url: 'http://crm.internal/v1', token: t0ken}"
		zendesk = "zendesk: {url: 'http://crm.internal', email: a@example.com, token: t0ken, webhook_secret: s}"
		model   = "model: {url: 'http://crm.internal/v1', key: t0ken, name: m}"
	)
	for _, bot := range []string{crm, zendesk, model} {
		err := read(bot, "")
		if err == nil || !strings.Contains(err.Error(), "bots.yaml:5: bot shop: ") ||
			!strings.Contains(err.Error(), "would be sent to crm.internal unencrypted") ||
			strings.Contains(err.Error(), "t0ken") {
			t.Errorf("%s: %v", bot, err)
		}
		for _, spared := range []error{
			read(bot, "plaintext: crm.internal"),
			read(strings.ReplaceAll(bot, "crm.internal", "127.0.0.1:9"), ""),
			read(strings.ReplaceAll(bot, "http:", "https:"), ""),
		} {
			if spared != nil {
				t.Errorf("%s: %v", bot, spared)
			}
		}
	}
	if err := read("crm: {url: 'http://crm.internal/v1'}", ""); err != nil {
		t.Errorf("without a token: %v", err)
	}
	if err := (Server{}).CheckTelegramURL("http://telegram.internal:8081"); err == nil {
		t.Error("tokens of bots may go to a Bot API server unencrypted")
	}
}

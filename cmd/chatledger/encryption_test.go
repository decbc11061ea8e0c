package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// config check warns of connections that would be unencrypted, and serve rejects them.
func TestServe_PlainConnections_RejectedAndWarned(t *testing.T) {
	t.Parallel()
	const bots = "bots: {shop: {token: '1:x', secret: s, crm: {url: 'http://crm.internal/v1', token: t}}}\n"
	file := saved(t, filepath.Join(t.TempDir(), "bots.yaml"), bots)
	const plain, said = "postgres://u@db.internal/x", "postgres://u@db.internal/x?sslmode=disable"

	code, stdout, _ := command(t.Context(), "config", "check", "--bots", file, "--database-url", plain)
	if code != 0 || strings.Count(stdout, "warning: ") != 2 || !strings.Contains(stdout, "crm.internal unencrypted") ||
		!strings.Contains(stdout, "the database may be unencrypted") {
		t.Errorf("config check: %d\n%s", code, stdout)
	}
	serve := func(want string, args ...string) {
		t.Helper()
		code, _, stderr := command(t.Context(), append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
		if code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("serve %v: %d %s, want %s", args, code, stderr, want)
		}
	}
	serve("sslmode=verify-full", "--bots", file, "--database-url", plain)
	serve("crm.internal unencrypted", "--bots", file, "--database-url", said)
	named := saved(t, filepath.Join(t.TempDir(), "bots.yaml"), bots+"server: {plaintext: crm.internal}\n")
	serve("--telegram-url", "--bots", named, "--database-url", said, "--telegram-url", "http://telegram.internal")
}

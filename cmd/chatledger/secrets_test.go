package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// credentials are patterns of text that looks like a usable credential.
var credentials = map[string]*regexp.Regexp{
	"a Telegram bot's token": regexp.MustCompile(`\b[0-9]{8,10}:[A-Za-z0-9_-]{35}`),
	"a private key":          regexp.MustCompile(`-----BEGIN ([A-Z]+ )*PRIVATE KEY( BLOCK)?-----`),
	"an AWS access key":      regexp.MustCompile(`\b(AKIA|ASIA)[A-Z0-9]{16}\b`),
	"a GitHub token":         regexp.MustCompile(`\b(gh[opsur]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,})\b`),
	"a Google API key":       regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{35}`),
	"a Slack token":          regexp.MustCompile(`\bxox[abprs]-[A-Za-z0-9-]{20,}`),
	"a language model's key": regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{32,}`),
	"a password in a URL": regexp.MustCompile(
		`\b(postgres|postgresql|https)://[^\s:/@"'` + "`" + `]+:[A-Za-z0-9_-]{16,}@`),
	"a JSON web token": regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}`),
}

// credential returns the text that looks like a credential, and its kind; empty when there is none.
func credential(text []byte) (found, as string) {
	for as, pattern := range credentials {
		if found := pattern.Find(text); found != nil {
			return string(found), as
		}
	}
	return "", ""
}

func TestRepository_AllFiles_HoldNoCredential(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	list, err := exec.Command("git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("only what git tracks is looked at: %v", err)
	}
	files := 0
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		files++
		if found, as := credential(text); found != "" {
			t.Errorf("%s holds what looks like %s, %.12s...: take it out, and revoke it if it ever was one", name, as, found)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
}

func TestCredentialPattern_Samples_Recognized(t *testing.T) {
	t.Parallel()
	some := strings.Repeat("aB3_-9", 10)
	for _, text := range []string{
		"token: 110201543:" + some[:35],
		"-----BEGIN " + "PRIVATE KEY-----",
		"-----BEGIN RSA " + "PRIVATE KEY-----",
		"aws AKIA" + strings.Repeat("A1B2", 4) + " key",
		"ghp_" + strings.Repeat("aB3", 12),
		"AIza" + some[:35],
		"xoxb-" + strings.Repeat("1234-", 6),
		"sk-" + some[:40],
		"postgres://chatledger:" + strings.Repeat("aB3", 6) + "@db/chatledger",
		"eyJhbGciOiJIUzI1" + ".eyJzdWIiOiIxMjM0" + ".dozjgNryP4J3jVmN",
	} {
		if found, _ := credential([]byte(text)); found == "" {
			t.Errorf("%q is not recognised", text)
		}
	}
	for _, text := range []string{"123456:demo", "postgres://user:password@host/db", "at 2026-01-31T12:00:00Z:0123",
		"task-0123456789012345678901234567890123456789"} {
		if found, as := credential([]byte(text)); found != "" {
			t.Errorf("%q is taken for %s", text, as)
		}
	}
}

package telegram_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
)

func signature(key, body string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func TestWebhook_RelaySignature_Verified(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t)
	large := hello + strings.Repeat(" ", 2<<20)
	for _, c := range []struct {
		name, bot, signature, body string
		want                       int
	}{
		{"signed", "relayed", signature("relay-key", hello), hello, http.StatusOK},
		{"another body", "relayed", signature("relay-key", hello), hello + " ", http.StatusUnauthorized},
		{"another key", "relayed", signature("other-key", hello), hello, http.StatusUnauthorized},
		{"no prefix", "relayed", strings.TrimPrefix(signature("relay-key", hello), "sha256="), hello, http.StatusUnauthorized},
		{"cut short", "relayed", signature("relay-key", hello)[:39], hello, http.StatusUnauthorized},
		{"empty", "relayed", "sha256=", hello, http.StatusUnauthorized},
		{"too large", "relayed", signature("relay-key", large), large, http.StatusUnauthorized},
		{"a bot without a relay", "demo", signature("", hello), hello, http.StatusUnauthorized},
	} {
		before := len(rc.handled)
		r, err := http.NewRequest(http.MethodPost, rc.URL+"/webhook/"+c.bot, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Signature-256", c.signature)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.name, answer.StatusCode, c.want)
		}
		if took := len(rc.handled) - before; (took == 1) != (c.want == http.StatusOK) {
			t.Errorf("%s: %d updates were taken", c.name, took)
		}
	}
	if raw := string(rc.handled[0].Update.Raw); raw != hello {
		t.Errorf("kept is %q", raw)
	}
}

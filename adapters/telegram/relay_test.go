package telegram_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// signed makes r a request that a relay has signed with a key at a time.
func signed(r *http.Request, key, body string, at time.Time) *http.Request {
	mac, seconds := hmac.New(sha256.New, []byte(key)), strconv.FormatInt(at.Unix(), 10)
	mac.Write([]byte(seconds + "." + body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	r.Header.Set("X-Signature-Timestamp", seconds)
	return r
}

func TestWebhook_RelaySignature_Verified(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t)
	large := hello + strings.Repeat(" ", 2<<20)
	header := func(name string, change func(string) string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, change(r.Header.Get(name))) }
	}
	const code, seconds = "X-Signature-256", "X-Signature-Timestamp"
	now, day := time.Now(), 24*time.Hour
	for _, c := range []struct {
		name, bot, key, signed, body string
		at                           time.Time
		change                       func(*http.Request)
		want                         int
	}{
		{"signed", "relayed", "relay-key", hello, hello, now, nil, 200},
		{"kept for days", "relayed", "relay-key", hello, hello, now.Add(-5*day + time.Hour), nil, 200},
		{"a clock ahead", "relayed", "relay-key", hello, hello, now.Add(time.Minute), nil, 200},
		{"a replay", "relayed", "relay-key", hello, hello, now.Add(-5*day - time.Hour), nil, 401},
		{"the future", "relayed", "relay-key", hello, hello, now.Add(time.Hour), nil, 401},
		{"another time", "relayed", "relay-key", hello, hello, now,
			header(seconds, func(string) string { return strconv.FormatInt(now.Unix()-1, 10) }), 401},
		{"no time", "relayed", "relay-key", hello, hello, now, header(seconds, func(string) string { return "" }), 401},
		{"another body", "relayed", "relay-key", hello, hello + " ", now, nil, 401},
		{"another key", "relayed", "other-key", hello, hello, now, nil, 401},
		{"no prefix", "relayed", "relay-key", hello, hello, now, header(code, func(s string) string { return s[7:] }), 401},
		{"cut short", "relayed", "relay-key", hello, hello, now, header(code, func(s string) string { return s[:39] }), 401},
		{"empty", "relayed", "relay-key", hello, hello, now, header(code, func(string) string { return "sha256=" }), 401},
		{"too large", "relayed", "relay-key", large, large, now, nil, 401},
		{"a bot without a relay", "demo", "", hello, hello, now, nil, 401},
	} {
		rc.handled = nil
		r, err := http.NewRequest(http.MethodPost, rc.URL+"/webhook/"+c.bot, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if signed(r, c.key, c.signed, c.at); c.change != nil {
			c.change(r)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != c.want {
			t.Errorf("%s: answered %d, want %d", c.name, answer.StatusCode, c.want)
		}
		if (len(rc.handled) == 1) != (c.want == http.StatusOK) {
			t.Errorf("%s: %d updates were stored", c.name, len(rc.handled))
		}
		if len(rc.handled) == 1 && string(rc.handled[0].Update.Raw) != hello {
			t.Errorf("%s: stored %q", c.name, rc.handled[0].Update.Raw)
		}
	}
}

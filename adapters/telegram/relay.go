package telegram

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/guard"
)

// A relay receives updates from Telegram elsewhere and forwards them. It signs the time and the body
// with a key of its own and then needs no secret token of Telegram's.

const (
	// signatureHeader contains sha256= and the hexadecimal HMAC-SHA256 of the time, a dot and the body.
	signatureHeader = "X-Signature-256"
	// timestampHeader contains the time of the signature, in Unix seconds.
	timestampHeader = "X-Signature-Timestamp"
	// maxSignatureAge bounds the age of a signature, so how long a relay may keep a signed update. It is
	// shorter than the six days for which a repeated update_id is recognised; otherwise a recorded
	// request could be replayed after that time.
	maxSignatureAge = 5 * 24 * time.Hour
	// maxSignatureAhead is how far the relay's clock may be ahead of ours.
	maxSignatureAhead = 5 * time.Minute
)

// signature is the signature of a relay.
type signature struct {
	code []byte
	at   string
}

// signatureOf returns the signature of a relay; false if the request has none that may be valid now.
func signatureOf(r *http.Request, now time.Time) (_ signature, signed bool) {
	text, signed := strings.CutPrefix(r.Header.Get(signatureHeader), "sha256=")
	code, err := hex.DecodeString(text)
	if !signed || err != nil {
		return signature{}, false
	}
	at := r.Header.Get(timestampHeader)
	seconds, err := strconv.ParseInt(at, 10, 64)
	age := now.Sub(time.Unix(seconds, 0))
	return signature{code, at}, err == nil && age <= maxSignatureAge && age >= -maxSignatureAhead
}

// of reports whether the signature is that of a body under a key. The comparison takes constant time.
func (s signature) of(body []byte, key string) bool {
	mac := hmac.New(sha256.New, []byte(key))
	io.WriteString(mac, s.at+".")
	mac.Write(body)
	return hmac.Equal(mac.Sum(nil), s.code)
}

// relayed returns 200 if the bot's relay has signed the body, or the status to reject it with. It
// asks the guard before it reads the body, and puts the body back.
func (wh *Webhook) relayed(w http.ResponseWriter, r *http.Request, bot Bot, s signature) int {
	var unverified *guard.Body
	if wh.Guard != nil {
		var wait time.Duration
		if unverified, wait = wh.Guard.Admit(r, bot.Name); wait > 0 {
			w.Header().Set("Connection", "close") // the body stays unread
			w.Header().Set("Retry-After", guard.Seconds(wait))
			return http.StatusTooManyRequests
		}
		defer unverified.Release()
	}
	body, err := unverified.Read(w, r, maxBody)
	if errors.Is(err, guard.ErrBusy) {
		return http.StatusServiceUnavailable
	}
	if err != nil {
		return http.StatusUnauthorized
	}
	if !s.of(body, bot.RelayKey) {
		return http.StatusUnauthorized
	}
	unverified.Verified()
	r.Body = io.NopCloser(bytes.NewReader(body))
	return http.StatusOK
}

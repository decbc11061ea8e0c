package telegram

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/guard"
)

// A relay receives updates from Telegram elsewhere and forwards them. It signs each body
// with a key of its own and then needs no secret token of Telegram's. Signatures do not
// expire, because a replayed update changes nothing.

// signatureHeader contains sha256= and the hexadecimal HMAC-SHA256 of the body.
const signatureHeader = "X-Signature-256"

// signatureOf returns the signature of a relay; false if the request has none.
func signatureOf(r *http.Request) (code []byte, signed bool) {
	text, signed := strings.CutPrefix(r.Header.Get(signatureHeader), "sha256=")
	code, err := hex.DecodeString(text)
	return code, signed && err == nil
}

// relayed returns 200 if the bot's relay has signed the body, or the status to reject it with. It
// asks the guard before it reads the body, and puts the body back. The comparison takes the same
// time wherever the signatures differ.
func (wh *Webhook) relayed(w http.ResponseWriter, r *http.Request, bot Bot, code []byte) int {
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
	mac := hmac.New(sha256.New, []byte(bot.RelayKey))
	mac.Write(body)
	if !hmac.Equal(mac.Sum(nil), code) {
		return http.StatusUnauthorized
	}
	unverified.Verified()
	r.Body = io.NopCloser(bytes.NewReader(body))
	return http.StatusOK
}

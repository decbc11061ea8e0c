// Package telegram is the edge to Telegram: the webhook that receives updates, the
// translation of an update into a command, and the senders of what the ledger owes.
package telegram

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

const (
	// maxBody is over ten times the largest update: 4,096 characters, each escaped
	// as 12 bytes, twice (a reply quotes its message).
	maxBody = 1 << 20
	// maxStranger is how much of a stranger's body is read, so that the connection
	// of a bot with an outdated secret survives.
	maxStranger = 4 << 10
	// secretHeader is as net/http writes it.
	secretHeader = "X-Telegram-Bot-Api-Secret-Token"
	// storeTimeout ends the wait for a database that does not answer: Telegram gets
	// its 503 within 5 s and holds the update.
	storeTimeout = 4500 * time.Millisecond
	// retryAfter is asked of Telegram when an update could not be stored, in seconds.
	retryAfter = 2
)

// Bot is what receiving for a bot needs to know.
type Bot struct {
	Name          string
	Secrets       []Digest // any of them is right; that of an empty secret never is
	RelayKey      string   // by which a relay signs bodies; "" when there is none
	Limit         chat.Limit
	ReorderWindow time.Duration // how long a chat's update waits for others with lower ids
}

// Digest is a secret as receivers know it: its SHA-256.
type Digest [sha256.Size]byte

// DigestOf is the digest of a secret.
func DigestOf(secret string) Digest { return sha256.Sum256([]byte(secret)) }

// Webhook receives updates: it answers 200 when an update is durable, and not before.
type Webhook struct {
	// Find is who receives at an address, /webhook/<bot> with an empty path or
	// /webhook/<bot>/<path>; false when nobody does. It is asked for every request.
	Find       func(bot, path string) (Bot, bool)
	Handle     func(context.Context, commands.Request) (commands.Result, error)
	Quarantine func(ctx context.Context, bot string, body []byte, reason string) error
	Observe    func(bot string, status int, took time.Duration)
	Guard      guard.Limiter    // nil means no limits
	Now        func() time.Time // nil is the clock
	Log        *slog.Logger
}

// Routes adds the webhook's paths: /webhook/<bot> and /webhook/<bot>/<path>.
func (wh *Webhook) Routes(r *mux.Router) {
	r.HandleFunc("/webhook/{bot}", wh.receive)
	r.HandleFunc("/webhook/{bot}/{path}", wh.receive)
}

func (wh *Webhook) receive(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	name := mux.Vars(r)["bot"]
	bot, known := wh.Find(name, mux.Vars(r)["path"])
	status := admit(r, bot, known)
	if status == http.StatusUnauthorized && vouched(w, r, bot) {
		status = http.StatusOK
	}
	if status == http.StatusOK {
		status = wh.take(w, r, bot)
	} else {
		status = wh.refuse(w, r, bot, status)
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(status)
	if !known {
		name = "" // whatever a stranger calls is no label
	}
	wh.Observe(name, status, time.Since(begun))
}

// admit says whether a request may come in, 200, or why it may not.
func admit(r *http.Request, bot Bot, known bool) int {
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed
	}
	// The comparison is made for unknown bots too, so that its time tells nothing. Who
	// names two secrets is guessing, or speaks past a proxy that looked at the other one.
	given := ""
	if named := r.Header[secretHeader]; len(named) == 1 {
		given = named[0]
	}
	right := authentic(bot.Secrets, given)
	switch {
	case !known:
		return http.StatusNotFound
	case !right:
		return http.StatusUnauthorized
	}
	return http.StatusOK
}

// refuse turns a request away, and its sender, who does not give up.
func (wh *Webhook) refuse(w http.ResponseWriter, r *http.Request, bot Bot, status int) int {
	if r.ContentLength < 0 || r.ContentLength > maxStranger {
		w.Header().Set("Connection", "close") // and the rest of the body stays unread
	}
	if wh.Guard != nil {
		if status != http.StatusUnauthorized {
			bot.Name = "" // it was not its secret that was wrong
		}
		if wait := wh.Guard.Failed(r, bot.Name); wait > 0 {
			w.Header().Set("Retry-After", guard.Seconds(wait))
			return http.StatusTooManyRequests
		}
	}
	if status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", http.MethodPost)
	}
	return status
}

// take takes the request in and says with which status.
func (wh *Webhook) take(w http.ResponseWriter, r *http.Request, bot Bot) int {
	if wh.Guard != nil {
		wh.Guard.Authenticated(r)
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return http.StatusUnsupportedMediaType
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case err != nil:
		return http.StatusBadRequest // the sender broke off; nobody hears this
	}
	// The update is taken in even when the sender hangs up meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeTimeout)
	defer cancel()
	if stream, err := wh.store(ctx, bot, body); err != nil {
		wh.Log.ErrorContext(ctx, "update not stored; Telegram will send it again", "bot", bot.Name, "stream", stream, "error", err)
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// store makes the body durable: as an event of a stream, or in quarantine.
func (wh *Webhook) store(ctx context.Context, bot Bot, body []byte) (domain.StreamID, error) {
	now := wh.Now
	if now == nil {
		now = time.Now
	}
	request, err := Translate(bot, body, now().UTC().Truncate(time.Microsecond))
	if err != nil {
		return "", wh.Quarantine(ctx, bot.Name, body, err.Error())
	}
	_, err = wh.Handle(ctx, request)
	return request.Stream, err
}

// nobody is compared with where there is no secret.
var nobody = []Digest{DigestOf("")}

// authentic compares in a time that depends neither on the secrets nor on where
// they differ.
func authentic(secrets []Digest, given string) bool {
	digest := DigestOf(given)
	if len(secrets) == 0 {
		secrets = nobody
	}
	right := 0
	for _, secret := range secrets {
		right |= subtle.ConstantTimeCompare(digest[:], secret[:])
	}
	return right == 1 && given != ""
}

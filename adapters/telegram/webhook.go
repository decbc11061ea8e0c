// Package telegram connects chatledger to Telegram: the webhook that receives updates, the
// translation of an update into a command, and the senders of deliveries.
package telegram

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
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
	// maxBody, in bytes, is over ten times the largest update: 4,096 characters, each
	// escaped as 12 bytes, twice (a reply quotes its message).
	maxBody = 1 << 20
	// maxUnauthorized is the largest body, in bytes, of an unauthorized request that leaves the
	// connection open, so that Telegram need not reconnect while a bot's secret is outdated.
	maxUnauthorized = 4 << 10
	// secretHeader is Telegram's header in net/http's canonical form.
	secretHeader = "X-Telegram-Bot-Api-Secret-Token"
	// storeTimeout bounds the wait for the database: Telegram gets a 503 within 5 s and
	// retries the update.
	storeTimeout = 4500 * time.Millisecond
	// retryAfter, in seconds, is sent to Telegram when an update could not be stored.
	retryAfter = 2
)

// Bot holds the settings for receiving a bot's updates.
type Bot struct {
	Name          string
	Secrets       []Digest // valid secrets; the digest of an empty secret is never valid
	RelayKey      string   // key by which a relay signs bodies; "" if there is no relay
	Limit         chat.Limit
	ReorderWindow time.Duration // how long an update waits for updates of its chat with lower ids
}

// Digest is the SHA-256 of a secret.
type Digest [sha256.Size]byte

// DigestOf returns the digest of a secret.
func DigestOf(secret string) Digest { return sha256.Sum256([]byte(secret)) }

// Webhook receives updates. It answers 200 only after the update has been committed.
type Webhook struct {
	Receivers  Receivers
	Handler    Handler
	Inbox      Inbox
	Quarantine Quarantine
	Observer   Observer
	Guard      guard.Admitter   // nil means no limits
	Now        func() time.Time // nil means time.Now
	Log        *slog.Logger
}

// Receivers are the bots that receive updates, by address.
type Receivers interface {
	// Find returns the bot that receives at /webhook/<bot> (path is empty) or at
	// /webhook/<bot>/<path>; false if there is none. It is called for every request.
	Find(bot, path string) (Bot, bool)
}

// Handler decides a request and stores its events: commands.Handler.
type Handler interface {
	Handle(context.Context, commands.Request) (commands.Result, error)
}

// Inbox holds the updates received lately.
type Inbox interface {
	// Differs reports whether an update with this update_id was received whose content is not body.
	Differs(ctx context.Context, bot string, id int64, body []byte) (bool, error)
}

// Quarantine keeps bodies that are not updates, and updates that repeat the update_id of another one.
type Quarantine interface {
	Add(ctx context.Context, bot string, body []byte, reason string) error
}

// Observer measures requests. The bot is "" if no such bot exists.
type Observer interface {
	Webhook(bot string, status int, took time.Duration)
}

// Routes adds the webhook's paths: /webhook/<bot> and /webhook/<bot>/<path>.
func (wh *Webhook) Routes(r *mux.Router) {
	r.HandleFunc("/webhook/{bot}", wh.receive)
	r.HandleFunc("/webhook/{bot}/{path}", wh.receive)
}

func (wh *Webhook) receive(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	name := mux.Vars(r)["bot"]
	bot, known := wh.Receivers.Find(name, mux.Vars(r)["path"])
	status := admit(r, bot, known)
	if status == http.StatusUnauthorized && bot.RelayKey != "" {
		if s, signed := signatureOf(r, time.Now()); signed { // the relay signs with its own clock
			status = wh.relayed(w, r, bot, s)
		}
	}
	switch status {
	case http.StatusOK:
		status = wh.accept(w, r, bot)
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed:
		status = wh.reject(w, r, bot, status)
	}
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(status)
	if !known {
		name = "" // a name that the sender chose must not become a metric label
	}
	wh.Observer.Webhook(name, status, time.Since(begun))
}

// admit returns 200 if the request is authorized, or the status to reject it with.
func admit(r *http.Request, bot Bot, known bool) int {
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed
	}
	// Secrets are compared for unknown bots as well, so that timing does not reveal which
	// bots exist. A request with two secret headers is rejected: a proxy may have checked
	// the other one.
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

// reject reports an unauthorized request to the guard and returns the status to answer.
func (wh *Webhook) reject(w http.ResponseWriter, r *http.Request, bot Bot, status int) int {
	if r.ContentLength < 0 || r.ContentLength > maxUnauthorized {
		w.Header().Set("Connection", "close") // the rest of the body stays unread
	}
	if wh.Guard != nil {
		if status != http.StatusUnauthorized {
			bot.Name = "" // not a wrong secret
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

// accept reads and stores an authorized request and returns the status to answer.
func (wh *Webhook) accept(w http.ResponseWriter, r *http.Request, bot Bot) int {
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
		return http.StatusBadRequest // the sender disconnected
	}
	// The update is stored even if the sender disconnects meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeTimeout)
	defer cancel()
	if stream, err := wh.store(ctx, bot, body); err != nil {
		wh.Log.ErrorContext(ctx, "update not stored; Telegram will retry it", "bot", bot.Name, "stream", stream, "error",
			err)
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// store commits the body as an event of a stream, or to quarantine if it is not an update.
func (wh *Webhook) store(ctx context.Context, bot Bot, body []byte) (domain.StreamID, error) {
	now := wh.Now
	if now == nil {
		now = time.Now
	}
	request, err := Translate(bot, body, now().UTC().Truncate(time.Microsecond))
	if err != nil {
		return "", wh.Quarantine.Add(ctx, bot.Name, body, err.Error())
	}
	result, err := wh.Handler.Handle(ctx, request)
	if errors.Is(err, commands.ErrUnreadable) {
		// With an error Telegram would retry it, and hold back the bot's later updates meanwhile.
		wh.Log.ErrorContext(ctx, "update quarantined; see `chatledger parked` and `chatledger quarantine`",
			"bot", bot.Name, "stream", request.Stream, "error", err)
		return request.Stream, wh.Quarantine.Add(ctx, bot.Name, body, fmt.Sprintf("%s: %v", request.Stream, err))
	}
	if err != nil || len(result.Events) > 0 {
		return request.Stream, err
	}
	differs, err := wh.Inbox.Differs(ctx, bot.Name, request.Update.ID, body)
	if err == nil && differs {
		err = wh.Quarantine.Add(ctx, bot.Name, body,
			fmt.Sprintf("update_id %d was received before, with different content", request.Update.ID))
	}
	return request.Stream, err
}

// noSecret is compared with the given secret if a bot has none, so that the check takes equally long.
var noSecret = []Digest{DigestOf("")}

// authentic reports whether given is one of the secrets. Its duration depends neither on
// the secrets nor on where they differ.
func authentic(secrets []Digest, given string) bool {
	digest := DigestOf(given)
	if len(secrets) == 0 {
		secrets = noSecret
	}
	right := 0
	for _, secret := range secrets {
		right |= subtle.ConstantTimeCompare(digest[:], secret[:])
	}
	return right == 1 && given != ""
}

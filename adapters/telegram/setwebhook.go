package telegram

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-telegram/bot"
)

// UpdateKinds are the updates that are asked for where nothing else is said: all there
// are, those included that Telegram leaves out of its default.
var UpdateKinds = []string{"message", "edited_message", "channel_post", "edited_channel_post", "business_connection", "business_message",
	"edited_business_message", "deleted_business_messages", "guest_message", "message_reaction", "message_reaction_count", "inline_query",
	"chosen_inline_result", "callback_query", "shipping_query", "pre_checkout_query", "purchased_paid_media", "poll", "poll_answer",
	"my_chat_member", "chat_member", "chat_join_request", "chat_boost", "removed_chat_boost", "managed_bot"}

// MaxConnections is the most that Telegram opens to a webhook at once.
const MaxConnections = 100

// Registration is what Telegram is told about a webhook. The secret is never told back.
type Registration struct {
	URL            string
	Secret         string
	AllowedUpdates []string // empty is UpdateKinds
	MaxConnections int      // 0 is MaxConnections
}

// Complete puts in what is left out.
func (r Registration) Complete() Registration {
	if len(r.AllowedUpdates) == 0 {
		r.AllowedUpdates = UpdateKinds
	}
	if r.MaxConnections == 0 {
		r.MaxConnections = MaxConnections
	}
	return r
}

// Telegram takes about one setWebhook a second and says so with a 429: it is waited for
// a few times, when it asks for no more than a few seconds.
const (
	setTries   = 4
	setPatient = 5 // seconds
)

// SetWebhook asks Telegram to post updates there from now on, those included that wait.
func (c *Client) SetWebhook(ctx context.Context, r Registration) error {
	r = r.Complete()
	for try := 1; ; try++ {
		_, err := c.api.SetWebhook(ctx, &bot.SetWebhookParams{URL: r.URL, SecretToken: r.Secret, MaxConnections: r.MaxConnections, AllowedUpdates: r.AllowedUpdates})
		var limited *bot.TooManyRequestsError
		if !errors.As(err, &limited) || limited.RetryAfter > setPatient || try == setTries {
			return c.called("setWebhook "+r.URL, err)
		}
		select {
		case <-ctx.Done():
			return c.called("setWebhook "+r.URL, err)
		case <-time.After(time.Duration(max(limited.RetryAfter, 1)) * time.Second):
		}
	}
}

// ErrToken is what comes of calls with a token that is no bot's.
var ErrToken = errors.New("the token is no bot's: compare it with what BotFather shows")

// called is what came of a call, in one line.
func (c *Client) called(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bot.ErrorUnauthorized), errors.Is(err, bot.ErrorNotFound):
		return fmt.Errorf("%s: %w: %s", what, ErrToken, brief(err, c.token))
	}
	return fmt.Errorf("%s: %s", what, brief(err, c.token))
}

// DeleteWebhook asks Telegram to post no more. Updates wait there, for a day at most.
func (c *Client) DeleteWebhook(ctx context.Context) error {
	_, err := c.api.DeleteWebhook(ctx, &bot.DeleteWebhookParams{})
	return c.called("deleteWebhook", err)
}

// WebhookInfo is what Telegram says of a webhook.
type WebhookInfo struct {
	Registration
	Pending     int // updates that wait at Telegram
	LastError   string
	ErrorAt     time.Time // zero when there was none
	OutOfSyncAt time.Time // when Telegram's own machines last failed to hand updates on; zero when never
}

// WebhookInfo asks Telegram what it knows of the webhook.
func (c *Client) WebhookInfo(ctx context.Context) (WebhookInfo, error) {
	info, err := c.api.GetWebhookInfo(ctx)
	if err != nil {
		return WebhookInfo{}, c.called("getWebhookInfo", err)
	}
	found := WebhookInfo{Registration: Registration{URL: info.URL, AllowedUpdates: info.AllowedUpdates, MaxConnections: info.MaxConnections},
		Pending: info.PendingUpdateCount, LastError: info.LastErrorMessage}
	found.ErrorAt, found.OutOfSyncAt = dated(info.LastErrorDate), dated(info.LastSynchronizationErrorDate)
	return found, nil
}

// dated is a time that Telegram leaves out when there is none.
func dated(seconds int) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return unix(int64(seconds))
}

// Clock is the time at the Bot API, to the second, by the Date of an answer. It needs no token.
func Clock(ctx context.Context, api string) (time.Time, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, strings.TrimSuffix(api, "/")+"/", nil)
	if err != nil {
		return time.Time{}, err
	}
	answer, err := http.DefaultTransport.RoundTrip(r) // a redirect has a date, too
	if err != nil {
		return time.Time{}, err
	}
	defer answer.Body.Close()
	return http.ParseTime(answer.Header.Get("Date"))
}

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

// UpdateKinds is the default of allowed_updates: all kinds, including those that Telegram
// omits from its own default.
var UpdateKinds = []string{
	"message",
	"edited_message",
	"channel_post",
	"edited_channel_post",
	"business_connection",
	"business_message",
	"edited_business_message",
	"deleted_business_messages",
	"guest_message",
	"message_reaction",
	"message_reaction_count",
	"inline_query",
	"chosen_inline_result",
	"callback_query",
	"shipping_query",
	"pre_checkout_query",
	"purchased_paid_media",
	"poll",
	"poll_answer",
	"my_chat_member",
	"chat_member",
	"chat_join_request",
	"chat_boost",
	"removed_chat_boost",
	"managed_bot",
}

// MaxConnections is the largest max_connections that Telegram accepts for a webhook.
const MaxConnections = 100

// Registration holds the parameters of setWebhook. Telegram never returns the secret.
type Registration struct {
	URL            string
	Secret         string
	AllowedUpdates []string // empty means UpdateKinds
	MaxConnections int      // 0 means MaxConnections
}

// Complete fills in the defaults.
func (r Registration) Complete() Registration {
	if len(r.AllowedUpdates) == 0 {
		r.AllowedUpdates = UpdateKinds
	}
	if r.MaxConnections == 0 {
		r.MaxConnections = MaxConnections
	}
	return r
}

// Telegram accepts about one setWebhook per second and answers more with 429. The call is
// retried a few times if the requested wait is short.
const (
	setAttempts   = 4
	setMaxBackoff = 5 // seconds
)

// SetWebhook registers a webhook. Telegram sends the pending updates to it as well.
func (c *Client) SetWebhook(ctx context.Context, r Registration) error {
	r = r.Complete()
	for try := 1; ; try++ {
		_, err := c.api.SetWebhook(ctx, &bot.SetWebhookParams{URL: r.URL, SecretToken: r.Secret,
			MaxConnections: r.MaxConnections, AllowedUpdates: r.AllowedUpdates})
		var limited *bot.TooManyRequestsError
		if !errors.As(err, &limited) || limited.RetryAfter > setMaxBackoff || try == setAttempts {
			return c.called("setWebhook "+r.URL, err)
		}
		select {
		case <-ctx.Done():
			return c.called("setWebhook "+r.URL, err)
		case <-time.After(time.Duration(max(limited.RetryAfter, 1)) * time.Second):
		}
	}
}

// ErrToken is returned by calls with an invalid bot token.
var ErrToken = errors.New("invalid bot token: compare it with the one that BotFather shows")

// called wraps the error of a call in one line.
func (c *Client) called(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bot.ErrorUnauthorized), errors.Is(err, bot.ErrorNotFound):
		return fmt.Errorf("%s: %w: %s", what, ErrToken, brief(err, c.token))
	}
	return fmt.Errorf("%s: %s", what, brief(err, c.token))
}

// DeleteWebhook removes the webhook. Telegram keeps pending updates for a day at most.
func (c *Client) DeleteWebhook(ctx context.Context) error {
	_, err := c.api.DeleteWebhook(ctx, &bot.DeleteWebhookParams{})
	return c.called("deleteWebhook", err)
}

// WebhookInfo is Telegram's information about a webhook.
type WebhookInfo struct {
	Registration
	Pending     int // pending updates
	LastError   string
	ErrorAt     time.Time // zero if there was no error
	OutOfSyncAt time.Time // last_synchronization_error_date; zero if there was none
}

// WebhookInfo calls getWebhookInfo.
func (c *Client) WebhookInfo(ctx context.Context) (WebhookInfo, error) {
	info, err := c.api.GetWebhookInfo(ctx)
	if err != nil {
		return WebhookInfo{}, c.called("getWebhookInfo", err)
	}
	found := WebhookInfo{
		Registration: Registration{
			URL:            info.URL,
			AllowedUpdates: info.AllowedUpdates,
			MaxConnections: info.MaxConnections,
		},
		Pending:   info.PendingUpdateCount,
		LastError: info.LastErrorMessage,
	}
	found.ErrorAt, found.OutOfSyncAt = dated(info.LastErrorDate), dated(info.LastSynchronizationErrorDate)
	return found, nil
}

// dated converts an optional Unix time; 0 becomes the zero time.
func dated(seconds int) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return unix(int64(seconds))
}

// Clock returns the time at the Bot API, to the second, from the Date header of an answer.
// It needs no token.
func Clock(ctx context.Context, api string) (time.Time, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, strings.TrimSuffix(api, "/")+"/", nil)
	if err != nil {
		return time.Time{}, err
	}
	answer, err := http.DefaultTransport.RoundTrip(r) // a redirect has a Date as well
	if err != nil {
		return time.Time{}, err
	}
	defer answer.Body.Close()
	return http.ParseTime(answer.Header.Get("Date"))
}

func unix(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

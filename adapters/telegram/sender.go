package telegram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-telegram/bot"

	"github.com/chatledger/chatledger/commands"
)

const (
	// callTimeout bounds one call. The Bot API answers in some 100 ms; after this
	// long the outcome is unknown.
	callTimeout = 10 * time.Second
	// maxAnswer bounds what is read of an answer: a Message is a few KiB.
	maxAnswer = 1 << 20
	// wrongTokenPause is how long a bot with a wrong token stays quiet: only a
	// person can mend it.
	wrongTokenPause = time.Minute
	// idleConnections per bot: as many as deliveries are under way at once.
	idleConnections = 16
)

// Client speaks to the Bot API for one bot.
type Client struct{ api *bot.Bot }

// NewClient returns a client; url is the API's, without the token.
func NewClient(url, token string) (*Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = idleConnections
	api, err := bot.New(token, bot.WithSkipGetMe(), bot.WithServerURL(strings.TrimSuffix(url, "/")),
		bot.WithHTTPClient(callTimeout, &http.Client{Timeout: callTimeout, Transport: bounded{transport}}),
		bot.WithErrorsHandler(func(error) {})) // what it reports, the calls return as well
	if err != nil {
		return nil, fmt.Errorf("bot API client: %w", err)
	}
	return &Client{api}, nil
}

// bounded cuts endless answers off.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// allowed lists the updates we ask for: all there are, those included that
// Telegram leaves out of its default.
var allowed = []string{"message", "edited_message", "channel_post", "edited_channel_post", "business_connection", "business_message",
	"edited_business_message", "deleted_business_messages", "guest_message", "message_reaction", "message_reaction_count", "inline_query",
	"chosen_inline_result", "callback_query", "shipping_query", "pre_checkout_query", "purchased_paid_media", "poll", "poll_answer",
	"my_chat_member", "chat_member", "chat_join_request", "chat_boost", "removed_chat_boost", "managed_bot"}

// SetWebhook asks Telegram to post updates to url with the secret.
func (c *Client) SetWebhook(ctx context.Context, url, secret string) error {
	_, err := c.api.SetWebhook(ctx, &bot.SetWebhookParams{URL: url, SecretToken: secret, MaxConnections: 100, AllowedUpdates: allowed})
	if err != nil {
		return fmt.Errorf("setWebhook %s: %w", url, err)
	}
	return nil
}

// Clients sends the deliveries of several bots: it implements a delivery sender
// for messages and answers to buttons.
type Clients map[string]*Client // by bot

// Send makes one call.
func (cs Clients) Send(ctx context.Context, d commands.Claimed) commands.Outcome {
	client := cs[d.Stream.Bot()]
	if client == nil {
		return commands.Outcome{State: commands.Refused, Reason: fmt.Sprintf("bot %q is not configured here", d.Stream.Bot())}
	}
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { written.Store(true) }})
	var messageID int64
	var err error
	switch d.Kind {
	case commands.KindSendMessage:
		messageID, err = client.sendMessage(ctx, d.Body)
	case commands.KindAnswerButton:
		err = client.answerButton(ctx, d.Body)
	default:
		return commands.Outcome{State: commands.Refused, Reason: "Telegram has no sender for " + d.Kind}
	}
	outcome := judge(err, written.Load())
	if outcome.State == commands.Done && messageID != 0 {
		outcome.MessageID = messageID
		outcome.Answer = fmt.Appendf(nil, `{"message_id": %d}`, messageID)
	}
	return outcome
}

// keyboard and button are sent instead of the library's types, which send an empty
// copy_text with every button; Telegram answers that with BUTTON_COPY_TEXT_INVALID.
type keyboard struct {
	Rows [][]button `json:"inline_keyboard"`
}

type button struct {
	Text string `json:"text"`
	Data string `json:"callback_data"`
}

func (c *Client) sendMessage(ctx context.Context, payload []byte) (int64, error) {
	var m commands.SendMessage
	if err := json.Unmarshal(payload, &m); err != nil {
		return 0, fmt.Errorf("%w, the payload cannot be read: %w", bot.ErrorBadRequest, err)
	}
	params := &bot.SendMessageParams{ChatID: m.ChatID, Text: m.Text, MessageThreadID: int(m.Thread)}
	if len(m.Buttons) > 0 {
		row := make([]button, len(m.Buttons))
		for i, b := range m.Buttons {
			row[i] = button(b)
		}
		params.ReplyMarkup = keyboard{[][]button{row}}
	}
	sent, err := c.api.SendMessage(ctx, params)
	if err != nil {
		return 0, err
	}
	return int64(sent.ID), nil
}

func (c *Client) answerButton(ctx context.Context, payload []byte) error {
	var a commands.AnswerButton
	if err := json.Unmarshal(payload, &a); err != nil {
		return fmt.Errorf("%w, the payload cannot be read: %w", bot.ErrorBadRequest, err)
	}
	_, err := c.api.AnswerCallbackQuery(ctx, &bot.AnswerCallbackQueryParams{CallbackQueryID: a.QueryID, Text: a.Text})
	return err
}

// judge says what an error means for the delivery. written tells whether the
// request had left us: then silence is no proof that it did not arrive.
func judge(err error, written bool) commands.Outcome {
	var limited *bot.TooManyRequestsError
	var migrated *bot.MigrateError
	switch {
	case err == nil:
		return commands.Outcome{State: commands.Done}
	case errors.As(err, &limited):
		return commands.Outcome{State: commands.Again, After: time.Duration(max(limited.RetryAfter, 1)) * time.Second, Reason: err.Error()}
	case errors.As(err, &migrated): // the group has another id now; nothing was sent
		return commands.Outcome{State: commands.Refused, Reason: err.Error()}
	case errors.Is(err, bot.ErrorForbidden):
		return commands.Outcome{State: commands.Refused, Reason: err.Error(), Blocked: true}
	case errors.Is(err, bot.ErrorUnauthorized), errors.Is(err, bot.ErrorNotFound):
		return commands.Outcome{State: commands.Again, After: wrongTokenPause, Reason: "the bot's token is wrong: " + err.Error()}
	case errors.Is(err, bot.ErrorBadRequest):
		if strings.Contains(err.Error(), "message is not modified") {
			return commands.Outcome{State: commands.Done}
		}
		return commands.Outcome{State: commands.Refused, Reason: err.Error()}
	case errors.Is(err, bot.ErrorConflict), strings.Contains(err.Error(), "error response from telegram"): // answered, with a 409 or 5xx
		return commands.Outcome{State: commands.Again, Reason: err.Error()}
	case written:
		return commands.Outcome{State: commands.Unknown, Reason: err.Error()}
	default:
		return commands.Outcome{State: commands.Again, Reason: err.Error()}
	}
}

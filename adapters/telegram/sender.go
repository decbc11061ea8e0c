package telegram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-telegram/bot"
	"github.com/go-telegram/bot/models"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

const (
	// callTimeout bounds one call. The Bot API answers in some 100 ms; after the timeout the
	// outcome is unknown.
	callTimeout = 10 * time.Second
	// maxAnswer bounds an answer, in bytes: a Message takes a few KiB.
	maxAnswer = 1 << 20
	// maxRetryAfter, in seconds, bounds the retry_after of a 429: a day, after which no
	// delivery is retried.
	maxRetryAfter = 24 * 60 * 60
	// atOnce is the backoff after a group has moved to a new chat id: there is no reason to wait.
	atOnce = time.Millisecond
	// maxReason bounds a reason, in characters: a line or two.
	maxReason = 300
	// idleConnections is per bot: as many deliveries are sent at once.
	idleConnections = 16
)

// Client calls the Bot API for one bot.
type Client struct {
	api   *bot.Bot
	http  *http.Client
	token string
	gone  *lru.Cache[topic, struct{}] // topics that no longer exist
}

// NewClient returns a client. address is the address of the Bot API, without the token.
func NewClient(address, token string) (*Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = idleConnections
	client := &http.Client{Timeout: callTimeout, Transport: bounded{transport}}
	api, err := bot.New(token, bot.WithSkipGetMe(), bot.WithServerURL(strings.TrimSuffix(address, "/")),
		bot.WithHTTPClient(callTimeout, client),
		bot.WithErrorsHandler(func(error) {})) // the calls return these errors as well
	if err != nil {
		return nil, fmt.Errorf("bot API client: %w", err)
	}
	gone, err := lru.New[topic, struct{}](maxGoneTopics)
	if err != nil {
		return nil, fmt.Errorf("bot API client: %w", err)
	}
	return &Client{api, client, token, gone}, nil
}

// Through wraps the client's transport. It must be called before the first request. The
// wrapper sees the token, which is part of every URL.
func (c *Client) Through(wrap func(http.RoundTripper) http.RoundTripper) {
	c.http.Transport = wrap(c.http.Transport)
}

// bounded limits the size of answers, and rejects redirects and the answers of gateways. The
// Bot API never redirects, and following one would send the URL with the token as Referer.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 3 {
		resp.Body.Close()
		host := "somewhere else"
		if to, err := resp.Location(); err == nil {
			host = to.Host // the rest may contain the token
		}
		return nil, fmt.Errorf("redirect to %s rejected: configure the Bot API's own address", host)
	}
	resp.Body = readCloser{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	if gateway := fromGateway(resp); gateway != nil {
		resp.Body.Close()
		return nil, gateway
	}
	return resp, nil
}

// Clients sends the deliveries of several bots. It implements the delivery sender for
// messages and answers to callback queries.
type Clients map[string]*Client // by bot

// Send makes one attempt to send a delivery.
func (cs Clients) Send(ctx context.Context, d commands.Claimed) commands.Outcome {
	client := cs[d.Stream.Bot()]
	if client == nil {
		return commands.Outcome{State: domain.DeliveryRefused,
			Reason: fmt.Sprintf("bot %q is not configured here", d.Stream.Bot())}
	}
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { written.Store(true) }})
	var messageID, missed int64
	var err error
	switch d.Kind {
	case domain.KindSendMessage:
		chatID, _ := d.CallsTo().Chat()
		messageID, missed, err = client.sendMessage(ctx, chatID, d.Body)
	case domain.KindAnswerButton:
		err = client.answerButton(ctx, d.Body)
	case domain.KindTyping:
		chatID, _ := d.CallsTo().Chat()
		_, err = client.api.SendChatAction(ctx, &bot.SendChatActionParams{ChatID: chatID, Action: models.ChatActionTyping})
	default:
		return commands.Outcome{State: domain.DeliveryRefused,
			Reason: "no Telegram sender for deliveries of kind " + string(d.Kind)}
	}
	outcome := judge(err, client.token, written.Load())
	if outcome.State == domain.DeliveryDone && messageID != 0 {
		outcome.MessageID = messageID
		outcome.Answer = fmt.Appendf(nil, `{"message_id": %d}`, messageID)
		if missed != 0 {
			outcome.Answer = fmt.Appendf(nil, `{"message_id": %d, "sent_without_topic": %d}`, messageID, missed)
		}
	}
	return outcome
}

// Probe asks the Bot API for the bot itself, which has no effect. It returns an error if the
// Bot API does not answer; an answer that is an error shows that it does.
func (cs Clients) Probe(ctx context.Context, name string) error {
	client := cs[name]
	if client == nil {
		return nil // Send reports the unknown bot
	}
	_, err := client.api.GetMe(ctx)
	if outcome := judge(err, client.token, true); outcome.Unanswered {
		return errors.New(outcome.Reason)
	}
	return nil
}

// keyboard and button replace the library's types, which send an empty copy_text with every
// button. Telegram rejects that with BUTTON_COPY_TEXT_INVALID.
type keyboard struct {
	Rows [][]button `json:"inline_keyboard"`
}

type button struct {
	Text string `json:"text"`
	Data string `json:"callback_data"`
}

func (c *Client) sendMessage(ctx context.Context, chatID int64, payload []byte) (id, missed int64, err error) {
	var m commands.SendMessage
	if err := json.Unmarshal(payload, &m); err != nil {
		return 0, 0, fmt.Errorf("%w, the payload is not valid: %w", bot.ErrorBadRequest, err)
	}
	return c.sendInTopic(ctx, chatID, m)
}

// send makes the call that fits a message, and returns the id of the message in the chat.
func (c *Client) send(ctx context.Context, chatID int64, m commands.SendMessage) (int64, error) {
	if len(m.Media) > 0 {
		return c.sendMedia(ctx, chatID, m)
	}
	sent, err := c.api.SendMessage(ctx, &bot.SendMessageParams{ChatID: chatID, Text: m.Text,
		ParseMode: parseModes[m.Format], MessageThreadID: int(m.Thread), ReplyMarkup: markup(m.Buttons)})
	return idOf(sent, err)
}

// parseModes maps formats to Telegram's parse modes; plain text has none.
var parseModes = map[dialog.Format]models.ParseMode{dialog.HTML: models.ParseModeHTML}

// markup returns the inline keyboard, one row of buttons, or nil if there are none.
func markup(buttons []dialog.Button) models.ReplyMarkup {
	if len(buttons) == 0 {
		return nil
	}
	row := make([]button, len(buttons))
	for i, b := range buttons {
		row[i] = button(b)
	}
	return keyboard{[][]button{row}}
}

// idOf returns the id of the message that a call has sent.
func idOf(sent *models.Message, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return int64(sent.ID), nil
}

func (c *Client) answerButton(ctx context.Context, payload []byte) error {
	var a commands.AnswerButton
	if err := json.Unmarshal(payload, &a); err != nil {
		return fmt.Errorf("%w, the payload is not valid: %w", bot.ErrorBadRequest, err)
	}
	_, err := c.api.AnswerCallbackQuery(ctx, &bot.AnswerCallbackQueryParams{CallbackQueryID: a.QueryID, Text: a.Text})
	return err
}

// judge maps the error of a call to the outcome of the attempt. written reports whether the
// request had been sent: if so, an attempt without an answer is unknown, not failed.
func judge(err error, token string, written bool) commands.Outcome {
	if err == nil {
		return commands.Outcome{State: domain.DeliveryDone}
	}
	var unsent *url.Error
	if errors.As(err, &unsent) { // its text repeats method and URL, and lists cut a long reason
		err = fmt.Errorf("no answer from the Bot API: %w", unsent.Err)
	}
	reason := brief(err, token)
	var gateway *gatewayError
	var limited *bot.TooManyRequestsError
	var migrated *bot.MigrateError
	switch {
	case errors.As(err, &gateway) && gateway.Status == http.StatusTooManyRequests:
		return commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseFlood, Reason: brief(gateway, token)}
	case errors.As(err, &gateway):
		return commands.Outcome{State: domain.DeliveryUnknown, Unlikely: true, Unanswered: true,
			Reason: brief(gateway, token)}
	case errors.As(err, &limited):
		after := time.Duration(min(max(limited.RetryAfter, 0), maxRetryAfter)) * time.Second
		return commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseFlood, After: after, Reason: reason}
	case errors.As(err, &migrated): // nothing was sent
		return commands.Outcome{State: domain.DeliveryRetry, MovedTo: int64(migrated.MigrateToChatID), After: atOnce,
			Reason: reason}
	case errors.Is(err, bot.ErrorForbidden):
		return commands.Outcome{State: domain.DeliveryRefused, Reason: reason, Blocked: true}
	case errors.Is(err, bot.ErrorUnauthorized), errors.Is(err, bot.ErrorNotFound):
		return commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseToken, After: commands.ProbeInterval,
			Reason: "the bot's token is wrong: " + reason}
	case errors.Is(err, bot.ErrorBadRequest):
		if strings.Contains(err.Error(), "message is not modified") {
			return commands.Outcome{State: domain.DeliveryDone}
		}
		return commands.Outcome{State: domain.DeliveryRefused, Reason: reason}
	case errors.Is(err, bot.ErrorConflict), strings.HasPrefix(reason, "error response from telegram"):
		// The Bot API answered with a 409 or 5xx.
		return commands.Outcome{State: domain.DeliveryRetry, Reason: reason}
	case written:
		return commands.Outcome{State: domain.DeliveryUnknown, Unanswered: true, Reason: reason}
	default:
		return commands.Outcome{State: domain.DeliveryRetry, Unanswered: true, Reason: reason}
	}
}

// brief returns an error as one line. It cuts the middle out of a long one, because the
// library quotes answers that it cannot parse in full. It removes the token, because a proxy
// may quote the URL in its answer.
func brief(err error, token string) string {
	line := []rune(strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), token, "***")), " "))
	if over := len(line) - maxReason; over > 0 {
		line = slices.Replace(line, maxReason/2, maxReason/2+over, '…')
	}
	return string(line)
}

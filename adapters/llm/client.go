// Package llm calls a language model at any server that implements OpenAI's chat completions. A question
// is a delivery: it is retried until its deadline, and its answer returns as a command. So nothing else
// waits for a model.
package llm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/outbound"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/llm"
)

const (
	// Lease is how long a worker may hold a question. Models take longer than other systems. If a worker
	// is killed, its chat waits this long.
	Lease = 30 * time.Second
	// maxBody bounds an answer as it is sent, in bytes: its events have some 200 bytes for each word.
	maxBody = 4 << 20
	// maxText bounds the text of an answer, in bytes: ten Telegram messages.
	maxText = 40 << 10
	// maxTokens limits an answer, reasoning included.
	maxTokens = 2048
	// connections to one server: few, because a server may have a single GPU.
	connections = 8
	// After breakAfter failures in a row the circuit breaker opens for breakFor. Then one question is
	// sent as a probe.
	breakAfter = 5
	breakFor   = 30 * time.Second
	// maxRetryAfter limits the wait that a server can ask for.
	maxRetryAfter = time.Hour
	// maxQuoted bounds the part of the server's message that a reason quotes, in characters.
	maxQuoted = 200
	// charsPerToken is for an estimate of the tokens if the server does not count them.
	charsPerToken = 4
)

// Config is a model at a server.
type Config struct {
	URL  string // base URL, such as https://api.openai.com/v1
	Key  string // sent as a bearer token; "" if the server needs none
	Name string // of the model

	// Prices of a million tokens, in any currency.
	PriceIn, PriceOut float64

	Daily commands.ModelUsage // budget for all questions of a day
}

// Check returns an error if the configuration is not valid.
func (c Config) Check() error {
	switch err := outbound.CheckBaseURL(c.URL); {
	case err != nil:
		return fmt.Errorf("url: %w", err)
	case c.Name == "":
		return errors.New("name is required: a server has more than one model")
	case !(c.PriceIn >= 0 && c.PriceOut >= 0) || math.IsInf(c.PriceIn+c.PriceOut, 0):
		return errors.New("price_in and price_out must be the cost of a million tokens, 0 or more")
	}
	return nil
}

// Error describes a question that was not answered, and whether to retry it.
type Error struct {
	State  domain.DeliveryState // retry, or refused: do not retry
	After  time.Duration        // least backoff before a retry; 0 if the server did not say
	Reason string

	Uncalled bool // the server was not called
	Rejected bool // the server answered with an error, so the question used no tokens
}

func (e *Error) Error() string { return "model: " + e.Reason }

// Client asks one model. It is safe for concurrent use.
type Client struct {
	config Config
	http   *outbound.Client
	header http.Header
}

// NewClient returns a client of a model.
func NewClient(c Config) (*Client, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	client := &Client{
		config: c,
		http: outbound.New(outbound.Config{
			MaxBody: maxBody, Connections: connections, BreakAfter: breakAfter, BreakFor: breakFor,
		}),
		header: http.Header{"Accept": {"text/event-stream"}},
	}
	if c.Key != "" {
		client.header.Set("Authorization", "Bearer "+c.Key)
	}
	return client, nil
}

// Through makes calls go through the transport that wrap returns. Call it before the first
// question.
func (c *Client) Through(wrap func(http.RoundTripper) http.RoundTripper) { c.http.Through(wrap) }

// Close closes idle connections.
func (c *Client) Close() { c.http.Close() }

// Breaker returns the state of the circuit breaker: closed, open or half-open.
func (c *Client) Breaker() string { return c.http.Breaker() }

// Name returns the model's name.
func (c *Client) Name() string { return c.config.Name }

// Reply is a model's answer, with its tokens and its cost.
type Reply struct {
	Text                string
	Calls               []llm.Call
	TokensIn, TokensOut int
	Cost                int64 // in millionths of the currency of the prices
}

// Ask asks the model. The error is an *Error.
func (c *Client) Ask(ctx context.Context, q commands.AskModel) (Reply, error) {
	var streamed answer
	if err := c.http.Do(ctx, outbound.Request{
		Method: http.MethodPost,
		URL:    strings.TrimSuffix(c.config.URL, "/") + "/chat/completions",
		Header: c.header,
		Body:   c.request(q),
	}, streamed.read); err != nil {
		return Reply{}, c.failure(err)
	}
	reply, err := streamed.reply()
	if err != nil {
		return Reply{}, err
	}
	if reply.TokensIn == 0 {
		reply.TokensIn = llm.Size(q.Messages) / charsPerToken
	}
	if reply.TokensOut == 0 {
		reply.TokensOut = llm.Size([]llm.Message{{Text: reply.Text, Calls: reply.Calls}})/charsPerToken + 1
	}
	reply.Cost = c.cost(reply.TokensIn, reply.TokensOut)
	return reply, nil
}

// cost returns the cost of tokens, in millionths of the currency of the prices.
func (c *Client) cost(in, out int) int64 {
	return int64(math.Round(float64(in)*c.config.PriceIn + float64(out)*c.config.PriceOut))
}

// most returns an estimate of the most that a question can use.
func (c *Client) most(q commands.AskModel) commands.ModelUsage {
	in, out := llm.Size(q.Messages)/charsPerToken+1, longest(q)
	return commands.ModelUsage{Calls: 1, Tokens: int64(in + out), Cost: c.cost(in, out)}
}

// failure translates the error of a call.
func (c *Client) failure(err *outbound.Error) *Error {
	switch {
	case err.Open:
		return &Error{State: domain.DeliveryRetry, After: max(c.http.OpenFor(), time.Millisecond),
			Reason: err.Error(), Uncalled: true}
	case err.Err != nil:
		return &Error{State: domain.DeliveryRetry, Reason: fmt.Sprintf("%.*s", maxQuoted, clean(err.Error()))}
	}
	e := &Error{Reason: fmt.Sprintf("%d, %.*q", err.Status, maxQuoted, message(err)), Rejected: true}
	switch status := err.Status; {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		e.State, e.Reason = domain.DeliveryRefused, "the key is wrong: "+e.Reason
	case status/100 == 3:
		e.State = domain.DeliveryRefused
		e.Reason = fmt.Sprintf("the URL is wrong: %d, the server redirects elsewhere", status)
	case status/100 == 4 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout &&
		status != http.StatusConflict:
		e.State = domain.DeliveryRefused
	default:
		e.State = domain.DeliveryRetry
		e.After, _ = outbound.RetryAfter(err.Header, maxRetryAfter)
	}
	return e
}

// message returns the server's explanation of an error.
func message(err *outbound.Error) string {
	var said struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(err.Body, &said) == nil {
		if text := errorText(said.Error); text != "" {
			return text
		}
	}
	return http.StatusText(err.Status)
}

// errorText reads the value of "error": servers send an object with a message, or a text.
func errorText(value json.RawMessage) string {
	var object struct {
		Message string `json:"message"`
	}
	var text string
	if json.Unmarshal(value, &object) == nil && object.Message != "" {
		return clean(object.Message)
	}
	if json.Unmarshal(value, &text) == nil {
		return clean(text)
	}
	return ""
}

// clean removes from the server's text the bytes that PostgreSQL cannot store.
func clean(text string) string { return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "") }

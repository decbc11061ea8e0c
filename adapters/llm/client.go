// Package agent asks models, at any server that speaks chat completions as OpenAI's does.
// A question is a delivery: made again while that may help, given up when its time is
// over, and answered by a command, so that nothing else ever waits for a model.
package llm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/llm"
)

const (
	// Lease is how long a worker may have one question: models write for longer than
	// other systems take, and a chat waits this long when its worker is killed.
	Lease = 30 * time.Second
	// maxBody bounds what is read of an answer, in bytes: its events are some 200 bytes
	// for each word.
	maxBody = 4 << 20
	// maxText bounds what is kept of an answer, in bytes: ten of Telegram's messages.
	maxText = 40 << 10
	// maxTokens bounds an answer, its thoughts included.
	maxTokens = 2048
	// connections to one server: kind to one that has a single card.
	connections = 8
	// After breakAfter failures in a row nothing is asked for breakFor; then one question
	// goes out to see whether the server is back.
	breakAfter = 5
	breakFor   = 30 * time.Second
	// maxQuoted is how much of what the server said can get into a reason, in characters.
	maxQuoted = 200
	// charsPerToken is what a token has about, where a server does not count.
	charsPerToken = 4
)

// Config is a model at a server.
type Config struct {
	URL  string // base URL, such as https://api.openai.com/v1
	Key  string // sent as a bearer token; "" when the server wants none
	Name string // of the model

	// Prices of a million tokens, in any currency.
	PriceIn, PriceOut float64
}

// Check says what is wrong with a configuration.
func (c Config) Check() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("url: %q is no base URL; give one such as https://api.openai.com/v1", c.URL)
	case c.Name == "":
		return errors.New("name is missing: the server has more than one model")
	case !(c.PriceIn >= 0 && c.PriceOut >= 0) || math.IsInf(c.PriceIn+c.PriceOut, 0):
		return errors.New("price_in and price_out are what a million tokens cost, and not negative")
	}
	return nil
}

// Error says why a question brought nothing, and whether to ask again.
type Error struct {
	State  commands.State // Refused: for good. Again: it may pass
	After  time.Duration  // Again: not before this long; 0 when nobody knows
	Reason string
}

func (e *Error) Error() string { return "model: " + e.Reason }

// Client asks one model. It is safe to use from many goroutines.
type Client struct {
	config  Config
	chat    openai.ChatCompletionService
	http    *http.Client
	breaker circuitbreaker.CircuitBreaker[any]
}

// NewClient returns a client of a model.
func NewClient(c Config) (*Client, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = connections, connections
	client := &Client{config: c,
		http: &http.Client{Transport: transport,
			// A followed redirect would take the conversation along.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		breaker: circuitbreaker.NewBuilder[any]().WithFailureThreshold(breakAfter).WithDelay(breakFor).WithSuccessThreshold(1).Build(),
	}
	// The service alone, not openai.NewClient: that takes keys and addresses from the
	// environment, and sends them to whoever is configured here. The ledger retries.
	options := []option.RequestOption{option.WithBaseURL(strings.TrimSuffix(c.URL, "/") + "/"), option.WithHTTPClient(client.http),
		option.WithMaxRetries(0), option.WithMiddleware(bounded)}
	if c.Key != "" {
		options = append(options, option.WithAPIKey(c.Key))
	}
	client.chat = openai.NewChatCompletionService(options...)
	return client, nil
}

// bounded cuts an answer that does not end, and takes none that leads elsewhere.
func bounded(r *http.Request, next option.MiddlewareNext) (*http.Response, error) {
	resp, err := next(r)
	if err == nil && resp.StatusCode/100 == 3 {
		resp.Body.Close()
		return nil, &Error{State: commands.Refused, Reason: fmt.Sprintf("the URL is wrong: %d, it leads elsewhere", resp.StatusCode)}
	}
	if resp != nil && resp.Body != nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxBody), resp.Body}
	}
	return resp, err
}

// Through makes calls go through what wrap returns, before the first of them.
func (c *Client) Through(wrap func(http.RoundTripper) http.RoundTripper) {
	c.http.Transport = wrap(c.http.Transport)
}

// Close lets go of the connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Breaker is the state of the circuit breaker.
func (c *Client) Breaker() string { return c.breaker.State().String() }

// Name is the model's.
func (c *Client) Name() string { return c.config.Name }

// Reply is what a model answered, and what that took.
type Reply struct {
	Text                string
	Calls               []llm.Call
	TokensIn, TokensOut int
	Cost                int64 // in millionths of what prices are in
}

// Ask asks the model. The error is an *Error.
func (c *Client) Ask(ctx context.Context, q commands.AskModel) (Reply, error) {
	if !c.breaker.TryAcquirePermit() {
		return Reply{}, &Error{State: commands.Again, After: max(c.breaker.RemainingDelay(), time.Millisecond), Reason: "it failed too often; the circuit breaker is open"}
	}
	reply, err := c.ask(ctx, q)
	if err == nil || err.State == commands.Refused { // what it refuses, it is up to refuse
		c.breaker.RecordSuccess()
	} else {
		c.breaker.RecordFailure()
	}
	if err != nil {
		return Reply{}, err
	}
	if reply.TokensIn == 0 {
		reply.TokensIn = llm.Size(q.Messages) / charsPerToken
	}
	if reply.TokensOut == 0 {
		reply.TokensOut = llm.Size([]llm.Message{{Text: reply.Text, Calls: reply.Calls}})/charsPerToken + 1
	}
	reply.Cost = int64(math.Round(float64(reply.TokensIn)*c.config.PriceIn + float64(reply.TokensOut)*c.config.PriceOut))
	return reply, nil
}

func (c *Client) ask(ctx context.Context, q commands.AskModel) (Reply, *Error) {
	stream := c.chat.NewStreaming(ctx, c.params(q))
	defer stream.Close()
	var said answer
	for stream.Next() {
		if err := said.add(stream.Current()); err != nil {
			return Reply{}, err
		}
	}
	if err := stream.Err(); err != nil {
		return Reply{}, failure(err)
	}
	return said.reply()
}

// failure is what an error of a call means.
func failure(err error) *Error {
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	refusal, answered := errors.AsType[*openai.Error](err)
	if !answered {
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err // without the URL, which is told already
		}
		return &Error{State: commands.Again, Reason: fmt.Sprintf("%.*s", maxQuoted, clean(err.Error()))}
	}
	e := &Error{State: commands.Again, Reason: fmt.Sprintf("%d, %.*q", refusal.StatusCode, maxQuoted, refusal.Message)}
	switch code := refusal.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		e.State, e.Reason = commands.Refused, "the key is wrong: "+e.Reason
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code == http.StatusConflict:
		if refusal.Response != nil {
			e.After = retryAfter(refusal.Response.Header.Get("Retry-After"))
		}
	case code/100 == 4:
		e.State = commands.Refused
	}
	return e
}

// clean makes a text of the server's one that can be stored.
func clean(text string) string { return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "") }

// retryAfter reads the header's seconds; 0 when it has none.
func retryAfter(header string) time.Duration {
	seconds, err := strconv.ParseUint(header, 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

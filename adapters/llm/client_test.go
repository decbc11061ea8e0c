package llm_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/llm"
	"github.com/chatledger/chatledger/adapters/simulators/faults"
	llmsim "github.com/chatledger/chatledger/adapters/simulators/llm"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	domainllm "github.com/chatledger/chatledger/domain/llm"
)

const key = "fake-key"

// newModelServer starts a model server and returns its base URL.
func newModelServer(t *testing.T) (string, *llmsim.Server) {
	t.Helper()
	server := llmsim.New(llmsim.Options{Key: key})
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)
	return front.URL + "/v1", server
}

// newModel returns a client and its server.
func newModel(t *testing.T) (*llm.Client, *llmsim.Server) {
	t.Helper()
	front, server := newModelServer(t)
	client, err := llm.NewClient(llm.Config{URL: front, Key: key, Name: "small-1", PriceIn: 0.5, PriceOut: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, server
}

func question(text string) commands.AskModel {
	return commands.AskModel{
		Ask: 3, Tools: []string{dialog.OrderStatus}, Tokens: 500, Until: time.Now().Add(time.Minute),
		Messages: []domainllm.Message{
			{Role: domainllm.System, Text: "You are a helper."},
			{Role: domainllm.Customer, Text: text},
		},
	}
}

func TestAsk_StreamedAnswer_IsRead(t *testing.T) {
	t.Parallel()
	client, server := newModel(t)
	q := question("Does it come with a bulb?")
	reply, err := client.Ask(t.Context(), q)
	if err != nil || reply.Text != "Yes, every lamp comes with a bulb." || reply.TokensIn != 10 || reply.TokensOut != 7 ||
		reply.Cost != 19 {
		t.Errorf("%+v, %v", reply, err)
	}
	got := server.Requests()[0]
	if got.Model != "small-1" || got.MaxTokens != 500 || len(got.Tools) != 2 ||
		got.Messages[1].Content != "Does it come with a bulb?" {
		t.Errorf("asked %+v", got)
	}
}

func TestAsk_ToolCalls_DecodedLeniently(t *testing.T) {
	t.Parallel()
	client, server := newModel(t)
	server.Script(llmsim.Answer{Calls: []llmsim.Call{
		{Tool: "order_status", Input: `{"number": 1001, "urgent": true, "nothing": null}`},
		{Tool: "order_status", Input: `{"number": ["1001"]}`},
		{Tool: "order_status", Input: `1001`},
		{Tool: "x"},
	}})
	reply, err := client.Ask(t.Context(), question("?"))
	if err != nil || len(reply.Calls) != 4 {
		t.Fatalf("%+v, %v", reply, err)
	}
	if c := reply.Calls[0]; c.ID != "call_0" || c.Input["number"] != "1001" || c.Input["urgent"] != "true" ||
		c.Problem != "" {
		t.Errorf("%+v", c)
	}
	for _, c := range reply.Calls[1:3] {
		if c.Problem == "" {
			t.Errorf("%+v", c)
		}
	}
	// The next question contains the calls and their results in the form of the API.
	q := question("?")
	q.Messages = append(q.Messages, domainllm.Message{Role: domainllm.Model, Calls: reply.Calls})
	for _, c := range reply.Calls {
		q.Messages = append(q.Messages, domainllm.NoResult(c, "no"))
	}
	if reply, err = client.Ask(t.Context(), q); err != nil || reply.Text == "" {
		t.Errorf("%+v, %v", reply, err)
	}
}

func TestAsk_EveryFault_RetriedOrRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault faults.Fault
		state domain.DeliveryState
		after time.Duration
		part  string
	}{
		"rate limit":    {faults.Fault{Status: 429, RetryAfter: 7}, domain.DeliveryRetry, 7 * time.Second, "429"},
		"server error":  {faults.Fault{Status: 500}, domain.DeliveryRetry, 0, "500"},
		"redirect":      {faults.Fault{Status: 302}, domain.DeliveryRefused, 0, "URL"},
		"unknown model": {faults.Fault{Status: 404}, domain.DeliveryRefused, 0, "404"},
		"truncated":     {faults.Fault{Spoil: faults.Truncated}, domain.DeliveryRetry, 0, "cut off"},
		"reset":         {faults.Fault{Spoil: faults.Reset}, domain.DeliveryRetry, 0, "EOF"},
		"cut off":       {faults.Fault{Spoil: faults.Half}, domain.DeliveryRetry, 0, "EOF"},
		"a page":        {faults.Fault{Spoil: faults.HTML}, domain.DeliveryRetry, 0, "cut off"},
		"nonsense":      {faults.Fault{Spoil: faults.Nonsense}, domain.DeliveryRetry, 0, "cannot be read"},
		"endless":       {faults.Fault{Spoil: faults.Endless}, domain.DeliveryRefused, 0, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := newModel(t)
			c.fault.Count = 1
			server.AddFault(c.fault)
			_, err := client.Ask(t.Context(), question("bulb?"))
			e, ok := errors.AsType[*llm.Error](err)
			if !ok || e.State != c.state || e.After != c.after || !strings.Contains(e.Reason, c.part) ||
				strings.Contains(e.Reason, key) {
				t.Errorf("%+v", err)
			}
			if reply, err := client.Ask(t.Context(), question("bulb?")); err != nil || reply.Text == "" {
				t.Errorf("after the fault: %+v, %v", reply, err)
			}
		})
	}
}

func TestAsk_TooManyTokens_IsRefused(t *testing.T) {
	t.Parallel()
	client, server := newModel(t)
	server.Script(llmsim.Answer{Text: "It comes", Finish: "length"})
	_, err := client.Ask(t.Context(), question("bulb?"))
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.State != domain.DeliveryRefused ||
		!strings.Contains(e.Reason, "more tokens") {
		t.Errorf("%v", err)
	}
}

func TestAsk_NoUsage_TokensAreEstimated(t *testing.T) {
	t.Parallel()
	client, server := newModel(t)
	server.Script(llmsim.Answer{Text: "Yes, it does.", Uncounted: true})
	if reply, err := client.Ask(t.Context(), question("bulb?")); err != nil || reply.TokensIn == 0 ||
		reply.TokensOut == 0 {
		t.Errorf("%+v, %v", reply, err)
	}
}

func TestAsk_WrongKey_IsRefused(t *testing.T) {
	t.Parallel()
	front := httptest.NewServer(llmsim.New(llmsim.Options{Key: "other"}))
	defer front.Close()
	client, err := llm.NewClient(llm.Config{URL: front.URL + "/v1", Name: "small-1"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Ask(t.Context(), question("?"))
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.State != domain.DeliveryRefused ||
		!strings.Contains(e.Reason, "key is wrong") {
		t.Errorf("%v", err)
	}
}

// OPENAI_API_KEY in the environment must not be sent to another server.
func TestAsk_EnvironmentKey_IsNotSent(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-of-the-environment")
	t.Setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")
	sent := make(chan http.Header, 1)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent <- r.Header
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer front.Close()
	client, err := llm.NewClient(llm.Config{URL: front.URL, Name: "small-1"})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = client.Ask(t.Context(), question("?"))
	if header := <-sent; strings.Contains(strings.Join(header.Values("Authorization"), ""), "sk-") {
		t.Errorf("sent %v", header)
	}
}

func TestBreaker_FiveFailures_Open(t *testing.T) {
	t.Parallel()
	client, server := newModel(t)
	server.AddFault(faults.Fault{Status: 500})
	for range 5 {
		_, _ = client.Ask(t.Context(), question("?"))
	}
	_, err := client.Ask(t.Context(), question("?"))
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.State != domain.DeliveryRetry || e.After <= 0 ||
		e.After > 30*time.Second || len(server.Requests()) != 5 || client.Breaker() != "open" {
		t.Errorf("%v after %d questions, breaker %s", err, len(server.Requests()), client.Breaker())
	}
}

// claimed returns a claimed delivery that asks q.
func claimed(t *testing.T, q commands.AskModel) commands.Claimed {
	t.Helper()
	body, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	return commands.Claimed{
		Delivery: commands.Delivery{ID: uuid.New(), Stream: "chat-demo:42", Kind: domain.KindAskModel},
		Body:     body,
		Attempt:  1,
	}
}

func TestModels_Outcome_IsRecorded(t *testing.T) {
	t.Parallel()
	client, server := newModel(t)
	models := llm.Models{Clients: map[string]*llm.Client{"demo": client}, Usage: &usage{}, Now: time.Now,
		Log: slog.New(slog.DiscardHandler)}
	d := claimed(t, question("bulb?"))
	outcome := models.Send(t.Context(), d)
	record, ok := outcome.Command.(chat.RecordModel)
	if outcome.State != domain.DeliveryDone || !ok || record.Ask != 3 || record.Delivery != d.ID || record.Text == "" ||
		record.Cost == 0 || record.Took <= 0 {
		t.Errorf("%+v", outcome)
	}
	late := question("bulb?")
	late.Until = time.Now().Add(-time.Second)
	server.AddFault(faults.Fault{Status: 429, RetryAfter: 600, Count: 1})
	for name, d := range map[string]commands.Claimed{
		"deadline exceeded":     claimed(t, late),
		"Retry-After beyond it": claimed(t, question("?")),
		"unreadable payload":    {Body: []byte("{")},
		"a bot without a model": {Delivery: commands.Delivery{Stream: "chat-other:42"}, Body: d.Body},
	} {
		outcome := models.Send(t.Context(), d)
		record, ok := outcome.Command.(chat.RecordModel)
		if outcome.State != domain.DeliveryRefused || !ok || record.Reason == "" {
			t.Errorf("%s: %+v", name, outcome)
		}
	}
	server.AddFault(faults.Fault{Status: 503, Count: 1})
	if outcome := models.Send(t.Context(), claimed(t, question("?"))); outcome.State != domain.DeliveryRetry ||
		outcome.Command != nil {
		t.Errorf("%+v", outcome)
	}
	server.AddFault(faults.Fault{DelayMS: 60_000})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if outcome := models.Send(ctx, claimed(t, question("?"))); outcome.State != domain.DeliveryRetry {
		t.Errorf("%+v", outcome)
	}
}

// usage implements llm.Usage in memory.
type usage struct {
	used commands.ModelUsage
	err  error
}

func (u *usage) Reserve(
	ctx context.Context, bot string, most, budget commands.ModelUsage,
) (commands.ModelDay, bool, error) {
	if u.err != nil || budget.Calls > 0 && u.used.Calls >= budget.Calls {
		return commands.ModelDay{}, false, u.err
	}
	return commands.ModelDay{Bot: bot}, true, u.Settle(ctx, commands.ModelDay{}, commands.ModelUsage{}, most)
}

func (u *usage) Settle(_ context.Context, _ commands.ModelDay, reserved, took commands.ModelUsage) error {
	u.used.Calls += took.Calls - reserved.Calls
	u.used.Tokens += took.Tokens - reserved.Tokens
	u.used.Cost += took.Cost - reserved.Cost
	return nil
}

// After the budget of the day is used up, the server is not called, and the question is refused, so that an
// operator takes over. The tokens and the cost of each question are counted.
func TestModels_BudgetSpent_NotAsked(t *testing.T) {
	t.Parallel()
	front, server := newModelServer(t)
	client, err := llm.NewClient(llm.Config{
		URL: front, Key: key, Name: "small-1", PriceIn: 0.5, PriceOut: 2, Daily: commands.ModelUsage{Calls: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	u := &usage{}
	models := llm.Models{
		Clients: map[string]*llm.Client{"demo": client}, Usage: u, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
	server.AddFault(faults.Fault{Status: 400, Count: 1}) // uses a call and no tokens
	for range 30 {
		models.Send(t.Context(), claimed(t, question("bulb?")))
	}
	if asked := len(server.Requests()); asked != 3 {
		t.Errorf("the server was called %d times, want 3", asked)
	}
	if want := (commands.ModelUsage{Calls: 3, Tokens: 24, Cost: 34}); u.used != want {
		t.Errorf("counted %+v, want %+v", u.used, want)
	}
	outcome := models.Send(t.Context(), claimed(t, question("bulb?")))
	record, ok := outcome.Command.(chat.RecordModel)
	if outcome.State != domain.DeliveryRefused || !ok || !record.Spent || record.Reason == "" {
		t.Errorf("%+v", outcome)
	}
	u.err = errors.New("no connection to the database")
	if outcome := models.Send(t.Context(), claimed(t, question("?"))); outcome.State != domain.DeliveryRetry ||
		!outcome.Untried || outcome.After == 0 {
		t.Errorf("budget cannot be read: %+v", outcome)
	}
}

func TestConfig_Invalid_Rejected(t *testing.T) {
	t.Parallel()
	good := llm.Config{URL: "https://models.example/v1", Name: "m"}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*llm.Config){
		func(c *llm.Config) { c.URL = "models.example" }, func(c *llm.Config) { c.URL = "https://models.example/?key=1" },
		func(c *llm.Config) { c.Name = "" }, func(c *llm.Config) { c.PriceIn = -1 },
	} {
		bad := good
		change(&bad)
		if bad.Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestAsk_EveryTool_IsDescribed(t *testing.T) {
	t.Parallel()
	client, server := newModel(t)
	q := question("?")
	q.Tools = nil
	for name := range dialog.Toolbox {
		q.Tools = append(q.Tools, name)
	}
	if _, err := client.Ask(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	var described []string
	for _, tool := range server.Requests()[0].Tools {
		described = append(described, tool.Function.Name)
	}
	for _, name := range append(q.Tools, domainllm.HandOver) {
		if !slices.Contains(described, name) {
			t.Errorf("%s is not among %q", name, described)
		}
	}
}

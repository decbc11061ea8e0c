package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/adapters/delivery"
	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/adapters/postgres/quarantine"
	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/adapters/zendesk"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// zendeskClient reaches the account, within the limit that all processes share.
func (f *botFactory) zendeskClient(z *config.Zendesk) (*zendesk.Client, error) {
	address, err := url.Parse(z.URL)
	if err != nil {
		return nil, err
	}
	quota := delivery.Quota{
		Limits: f.limiter, Account: domain.StreamID("zendesk:" + address.Host), PerMinute: *z.Rate, Log: f.log,
	}
	return zendesk.NewClient(zendesk.Account{URL: z.URL, Email: z.Email, Token: z.Token, Limit: quota})
}

// desk returns the external help desk that also keeps the bot's tickets, or "".
func (f *fleet) desk(bot string) string {
	if b := f.All()[bot]; b == nil || b.zendesk == nil {
		return ""
	}
	return chat.DeskZendesk
}

// newZendeskWebhook returns the webhook that receives what agents do to a bot's tickets.
func (f *botFactory) newZendeskWebhook(bot string, z *config.Zendesk) *zendesk.Webhook {
	receiver := zendeskReceiver{
		bot: bot, source: "zendesk:" + bot, handler: f.requests, metrics: f.metrics, now: f.now,
		quarantine: countedQuarantine{quarantine.New(f.db), f.metrics},
	}
	f.metrics.Source(receiver.source)
	return &zendesk.Webhook{
		Secrets: []string{z.WebhookSecret}, Receiver: receiver, Observer: receiver, Log: f.log,
		Guard: f.guard, Endpoint: receiver.source,
		Now: time.Now, // Zendesk signs with its own clock
	}
}

// zendeskReceiver stores the events of a bot's Zendesk account.
type zendeskReceiver struct {
	bot        string
	source     string // in quarantine and metrics, different from Telegram's
	handler    zendeskHandler
	quarantine countedQuarantine
	metrics    *telemetry.Metrics
	now        func() time.Time
}

// zendeskHandler records what agents do: commands.Handler.
type zendeskHandler interface {
	Handle(context.Context, commands.Request) (commands.Result, error)
}

// Answered implements zendesk.Observer.
func (z zendeskReceiver) Answered(status int, took time.Duration) {
	z.metrics.Webhook(z.source, status, took)
}

// Quarantine implements zendesk.Receiver.
func (z zendeskReceiver) Quarantine(ctx context.Context, body []byte, reason string) error {
	return z.quarantine.Add(ctx, z.source, body, reason)
}

// Receive implements zendesk.Receiver. An event about a chat of another bot, or about an unknown
// ticket, goes to quarantine.
func (z zendeskReceiver) Receive(ctx context.Context, e zendesk.Event) error {
	if e.Stream.Bot() != z.bot {
		return z.Quarantine(ctx, e.Raw, "it is about a chat of another bot")
	}
	agent := cmp.Or(e.Author, "an agent")
	_, err := z.handler.Handle(ctx, commands.Request{
		Stream: e.Stream, Actor: domain.OperatorActor(agent), At: z.now(),
		Command: chat.RecordAgent{
			ID: e.ID, Ticket: e.Ticket, Desk: chat.DeskZendesk, Act: agentActs[e.Kind],
			Agent: agent, Text: e.Body, At: e.UpdatedAt.UTC(),
		},
	})
	if errors.Is(err, chat.ErrNoSuchTicket) || errors.Is(err, commands.ErrUnreadable) {
		return z.Quarantine(ctx, e.Raw, err.Error())
	}
	return err
}

// agentActs are the acts of a chat by Zendesk's events.
var agentActs = map[zendesk.EventKind]chat.AgentAct{
	zendesk.Solved: chat.AgentSolved, zendesk.Reopened: chat.AgentReopened, zendesk.PublicComment: chat.AgentReplied,
}

// serveZendesk answers Zendesk's webhooks, each bot's at an address of its own.
func (s *Server) serveZendesk(w http.ResponseWriter, r *http.Request) {
	if b := s.Bots.All()[mux.Vars(r)["bot"]]; b != nil && b.zendesk != nil {
		b.zendesk.ServeHTTP(w, r)
		return
	}
	if wait := s.guard.Failed(r, ""); wait > 0 {
		w.Header().Set("Retry-After", guard.Seconds(wait))
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	http.NotFound(w, r)
}

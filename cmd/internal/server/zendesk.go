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
	"github.com/chatledger/chatledger/adapters/zendesk"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// zendeskClient reaches the account, within the limit that all processes share.
func (a *Server) zendeskClient(z *config.Zendesk) (*zendesk.Client, error) {
	address, err := url.Parse(z.URL)
	if err != nil {
		return nil, err
	}
	quota := delivery.Quota{Limits: a.flow, Account: domain.StreamID("zendesk:" + address.Host), PerMinute: *z.Rate, Log: a.log}
	return zendesk.NewClient(zendesk.Account{URL: z.URL, Email: z.Email, Token: z.Token, Limit: quota})
}

// desk returns the external help desk that also keeps the bot's tickets, or "".
func (f *fleet) desk(bot string) string {
	if b := f.All()[bot]; b == nil || b.zendesk == nil {
		return ""
	}
	return chat.DeskZendesk
}

// listenToZendesk takes in what agents do to a bot's tickets.
func (a *Server) listenToZendesk(bot string, z *config.Zendesk) *zendesk.Webhook {
	source := "zendesk:" + bot // in quarantine and metrics, to be told from Telegram's
	a.metrics.Source(source)
	quarantine := func(ctx context.Context, body []byte, reason string) error {
		a.metrics.Quarantined(source)
		return quarantine.New(a.Store.DB).Add(ctx, source, body, reason)
	}
	return &zendesk.Webhook{Secrets: []string{z.WebhookSecret}, Quarantine: quarantine, Guard: a.guard, Log: a.log,
		Now:     time.Now, // Zendesk signs with its own clock
		Observe: func(status int, took time.Duration) { a.metrics.Webhook(source, status, took) },
		Take: func(ctx context.Context, e zendesk.Event) error {
			if e.Stream.Bot() != bot {
				return quarantine(ctx, e.Raw, "it is about a chat of another bot")
			}
			err := a.agentActed(ctx, e)
			if errors.Is(err, chat.ErrNoSuchTicket) {
				return quarantine(ctx, e.Raw, err.Error())
			}
			return err
		}}
}

// agentActs are an agent's doings as the chat knows them.
var agentActs = map[zendesk.EventKind]chat.AgentAct{
	zendesk.Solved: chat.AgentSolved, zendesk.Reopened: chat.AgentReopened, zendesk.PublicComment: chat.AgentReplied,
}

// agentActed is nil when what an agent did is stored, now or before.
func (a *Server) agentActed(ctx context.Context, e zendesk.Event) error {
	agent := cmp.Or(e.Author, "an agent")
	_, err := a.tracing.Handle(a.Handler.Handle)(ctx, commands.Request{Stream: e.Stream, Actor: domain.OperatorActor(agent), At: a.now(), Command: chat.RecordAgent{
		ID: e.ID, Ticket: e.Ticket, Desk: chat.DeskZendesk, Act: agentActs[e.Kind], Agent: agent, Text: e.Body, At: e.UpdatedAt.UTC()}})
	return err
}

// serveZendesk answers Zendesk's webhooks, each bot's at an address of its own.
func (a *Server) serveZendesk(w http.ResponseWriter, r *http.Request) {
	if b := a.Bots.All()[mux.Vars(r)["bot"]]; b != nil && b.zendesk != nil {
		b.zendesk.ServeHTTP(w, r)
		return
	}
	if wait := a.guard.Failed(r, ""); wait > 0 {
		w.Header().Set("Retry-After", guard.Seconds(wait))
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	http.NotFound(w, r)
}

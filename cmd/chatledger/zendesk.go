package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/adapters/delivery"
	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/adapters/zendesk"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// zendeskConfig is the Zendesk account that keeps a bot's tickets, too. All but the
// rate may be references.
type zendeskConfig struct {
	URL           string   `yaml:"url"`
	Email         string   `yaml:"email"` // of the agent that the token acts as
	Token         string   `yaml:"token"`
	WebhookSecret string   `yaml:"webhook_secret"` // signs what Zendesk posts to /zendesk/<bot>
	Rate          *float64 `yaml:"rate"`           // requests a minute of all bots with this account; 0 is no limit
}

const (
	// zendeskRate is what Zendesk's smallest plan allows.
	zendeskRate = 200
	// maxZendeskRate is what its largest allows.
	maxZendeskRate = 2500
)

// zendeskKinds are the kinds of deliveries that go to Zendesk.
var zendeskKinds = []string{commands.KindCreateTicket, commands.KindComment, commands.KindSetStatus, commands.KindSetPriority}

func (z *zendeskConfig) references() []reference {
	return []reference{{"zendesk: url", &z.URL}, {"zendesk: email", &z.Email}, {"zendesk: token", &z.Token}, {"zendesk: webhook_secret", &z.WebhookSecret}}
}

// check validates an account and puts in what is left out.
func (z *zendeskConfig) check() error {
	if z.Rate == nil {
		rate := float64(zendeskRate)
		z.Rate = &rate
	}
	address, err := url.Parse(z.URL)
	switch {
	case err != nil || address.Host == "" || address.Scheme != "https" && address.Scheme != "http":
		return errors.New("url is none: give an address such as https://shop.zendesk.com")
	case !strings.Contains(z.Email, "@"):
		return errors.New("email is missing: that of the agent that the token acts as")
	case z.Token == "":
		return errors.New("token is missing: the Admin Center gives it, under Zendesk API")
	case z.WebhookSecret == "":
		return errors.New("webhook_secret is missing: the webhook's page shows it; without it all that agents do would be refused")
	case *z.Rate < 0 || *z.Rate > maxZendeskRate || *z.Rate > 0 && *z.Rate < 1:
		return fmt.Errorf("rate is a number of requests a minute, 1 to %d, or 0 for no limit", maxZendeskRate)
	}
	return nil
}

// client reaches the account, within the limit that all processes share.
func (z *zendeskConfig) client(a *app) (*zendesk.Client, error) {
	address, err := url.Parse(z.URL)
	if err != nil {
		return nil, err
	}
	quota := delivery.Quota{Flow: a.flow, Account: domain.StreamID("zendesk:" + address.Host), PerMinute: *z.Rate, Log: a.log}
	return zendesk.NewClient(zendesk.Account{URL: z.URL, Email: z.Email, Token: z.Token, Limit: quota})
}

// desk is where else a bot's tickets are kept; "" is nowhere.
func (a *app) desk(bot string) string {
	if b := a.bots.all()[bot]; b == nil || b.zendesk == nil {
		return ""
	}
	return chat.DeskZendesk
}

// listenToZendesk takes in what agents do to a bot's tickets.
func (a *app) listenToZendesk(bot string, z *zendeskConfig) *zendesk.Webhook {
	source := "zendesk:" + bot // in quarantine and metrics, to be told from Telegram's
	a.metrics.Source(source)
	quarantine := func(ctx context.Context, body []byte, reason string) error {
		a.metrics.Quarantined(source)
		return a.store.Quarantine(ctx, source, body, reason)
	}
	return &zendesk.Webhook{Secrets: []string{z.WebhookSecret}, Quarantine: quarantine, Door: a.guard, Log: a.log,
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
func (a *app) agentActed(ctx context.Context, e zendesk.Event) error {
	agent := cmp.Or(e.Author, "an agent")
	_, err := a.tracing.Handle(a.handler.Handle)(ctx, commands.Request{Stream: e.Stream, Actor: "person:" + agent, At: a.now(), Command: chat.RecordAgent{
		ID: e.ID, Ticket: e.Ticket, Desk: chat.DeskZendesk, Act: agentActs[e.Kind], Agent: agent, Text: e.Body, At: e.UpdatedAt.UTC()}})
	return err
}

// serveZendesk answers Zendesk's webhooks, each bot's at an address of its own.
func (a *app) serveZendesk(w http.ResponseWriter, r *http.Request) {
	if b := a.bots.all()[mux.Vars(r)["bot"]]; b != nil && b.zendesk != nil {
		b.zendesk.ServeHTTP(w, r)
		return
	}
	if wait := a.guard.Refused(r, ""); wait > 0 {
		w.Header().Set("Retry-After", guard.Seconds(wait))
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	http.NotFound(w, r)
}

// Package dev runs everything that a trial needs in one process: a private PostgreSQL, the
// simulators of Telegram, the CRM, Zendesk and the language model, and a server with one bot
// that uses them. Its constants are also those of the demo bot in tests and in the bench.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatledger/chatledger/adapters/operators"
	"github.com/chatledger/chatledger/adapters/postgres/accounts"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgdev"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/schema"
)

// The demo bot. Its token and secret are valid at the simulators only.
const (
	BotName = "demo"
	Token   = "100000001:demo-token-for-the-simulator-only"
	Secret  = "demo-secret"
)

const (
	// stopTimeout bounds the shutdown of the private PostgreSQL, which writes a checkpoint.
	stopTimeout = 10 * time.Second
	// readyEvery is the pause between two requests to /readyz: a server is ready within a second.
	readyEvery = 10 * time.Millisecond
)

// Config says where the parts listen and what the demo bot does.
type Config struct {
	DatabaseURL   string // "" or the address in DataDir starts the private PostgreSQL
	DataDir       string // of the private PostgreSQL
	Listen        string // webhook
	Telegram      string // simulator and its chat page
	CRM           string // simulator
	Zendesk       string // simulator
	Model         string // simulator of the language model; "" starts none
	Operators     string // the operators' API
	ChatLimit     int    // messages of one chat that are answered in a minute; 0 means no limit
	ReorderWindow time.Duration
	Tracing       telemetry.TracingConfig
	Version       string
	Log           *slog.Logger
	Out           io.Writer // receives the addresses, and a line when everything is ready
}

// Run starts the parts, runs the server until ctx ends, and stops the parts in reverse order.
func Run(ctx context.Context, c Config) (err error) {
	var open closers
	defer open.close()
	webhook, err := open.listen(c.Listen, "--listen")
	if err != nil {
		return err
	}
	telegramAt, err := open.listen(c.Telegram, "--sim")
	if err != nil {
		return err
	}
	crmAt, err := open.listen(c.CRM, "--crm")
	if err != nil {
		return err
	}
	zendeskAt, err := open.listen(c.Zendesk, "--zendesk")
	if err != nil {
		return err
	}
	operatorsAt, err := open.listen(c.Operators, "--operators")
	if err != nil {
		return err
	}

	dsn, exported := c.DatabaseURL, `"$DATABASE_URL"`
	// The private server's address may have been exported before that server stopped.
	if dsn == "" || pgdev.IsDSNOf(c.DataDir, dsn) {
		postgres, err := pgdev.Start(ctx, pgdev.Config{Dir: c.DataDir, Log: c.Log})
		if err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			open.close() // the simulators and listeners stop before the database
			err = errors.Join(err, postgres.Stop(ctx))
		}()
		dsn, exported = postgres.DSN(), fmt.Sprintf("\"$(cat %s)\"", filepath.Join(c.DataDir, "dsn"))
	}
	if _, _, err := schema.Migrate(ctx, dsn); err != nil {
		return err
	}

	bot := config.Bot{
		Token: Token, Secret: Secret,
		CRM:           &config.CRM{URL: "http://" + crmAt.Addr().String()},
		Zendesk:       ZendeskAccount("http://" + zendeskAt.Addr().String()),
		ReorderWindow: c.ReorderWindow,
		ChatLimit:     &config.ChatLimit{Count: c.ChatLimit, Window: time.Minute},
	}
	base := "http://" + webhook.Addr().String()
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return err
	}
	open = append(open, poolCloser{pool})
	known := handlers{pool, bot.Zendesk.URL, exported}
	if err := open.telegram(ctx, telegramAt, dsn, known, c.Log); err != nil {
		return err
	}
	open.crm(crmAt)
	open.zendesk(zendeskAt, bot.Zendesk, base)
	if c.Model != "" {
		if bot.Model, err = open.model(c.Model); err != nil {
			return err
		}
	}

	api := "http://" + telegramAt.Addr().String()
	s, err := server.New(ctx, server.Config{
		DSN: dsn, Bots: map[string]config.Bot{BotName: bot}, TelegramURL: api,
		Listener: webhook, Operators: operatorsAt,
		Log: c.Log, Version: c.Version, Tracing: c.Tracing,
	})
	if err != nil {
		return err
	}
	token, err := newOperator(ctx, s.Store)
	if err != nil {
		return err
	}
	show(c.Out, "chat", api+"/")
	show(c.Out, "tour", api+"/?tour (five steps)")
	show(c.Out, "webhook", base+"/webhook/"+BotName+" (secret "+Secret+")")
	show(c.Out, "crm", bot.CRM.URL+"/fake/updates (and /fake/refunds, /fake/cases)")
	show(c.Out, "zendesk", bot.Zendesk.URL+"/fake/tickets")
	if bot.Model != nil {
		show(c.Out, "model", strings.TrimSuffix(bot.Model.URL, "/v1")+"/fake/requests (and /fake/answers)")
	}
	show(c.Out, "operators", "http://"+operatorsAt.Addr().String()+"/api/v1/queue (Authorization: Bearer <token>)")
	show(c.Out, "token", token)
	show(c.Out, "tables", "psql "+exported+" -c 'table readmodel.conversations'")
	data := "in the database of DATABASE_URL"
	if dsn != c.DatabaseURL || pgdev.IsDSNOf(c.DataDir, dsn) {
		data = "in " + c.DataDir + "; remove it to start afresh"
	}
	show(c.Out, "data", data)
	go announceReady(ctx, c, bot, api, base)
	return s.Run(ctx)
}

// show prints an address under its name, in a line that fits a narrow terminal.
func show(out io.Writer, name, address string) { fmt.Fprintf(out, "%-9s %s\n", name, address) }

// announceReady registers the webhook as soon as the server is ready, and says so.
func announceReady(ctx context.Context, c Config, bot config.Bot, api, base string) {
	for ctx.Err() == nil {
		answer, err := http.Get(base + "/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				break
			}
		}
		time.Sleep(readyEvery)
	}
	if err := SetWebhook(ctx, api, bot, base+"/webhook/"+BotName); err != nil {
		if ctx.Err() == nil {
			c.Log.Error("cannot register the webhook with the simulator", "error", err)
		}
		return
	}
	show(c.Out, "ready", "Ctrl-C stops everything")
}

// SetWebhook registers a bot's webhook at a Bot API server.
func SetWebhook(ctx context.Context, api string, b config.Bot, url string) error {
	client, err := telegram.NewClient(api, b.Token)
	if err != nil {
		return err
	}
	return client.SetWebhook(ctx, telegram.Registration{
		URL: url, Secret: b.Secret, AllowedUpdates: b.AllowedUpdates, MaxConnections: b.MaxConnections,
	})
}

// newOperator gives the demo's operator a new token.
func newOperator(ctx context.Context, store *eventstore.Store) (token string, err error) {
	token, hash := operators.NewToken()
	return token, accounts.New(store.DB).PutOperator(ctx, "demo", commands.Admin, hash, nil)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/operators"
	"github.com/chatledger/chatledger/adapters/postgres/accounts"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgdev"
	crmsim "github.com/chatledger/chatledger/adapters/simulators/crm"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	zendesksim "github.com/chatledger/chatledger/adapters/simulators/zendesk"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/schema"
)

type devCmd struct {
	database
	Listen        string        `default:"127.0.0.1:8080" env:"CHATLEDGER_LISTEN" help:"Address of the webhook, /healthz, /readyz and /metrics."`
	Sim           string        `default:"127.0.0.1:8081" env:"CHATLEDGER_SIM" help:"Address of the Telegram simulator and its chat page."`
	CRM           string        `name:"crm" default:"127.0.0.1:8082" env:"CHATLEDGER_CRM" help:"Address of the fake CRM, which knows orders, invoices, charges and addresses."`
	Zendesk       string        `default:"127.0.0.1:8083" env:"CHATLEDGER_ZENDESK" help:"Address of the fake Zendesk, which keeps tickets, too."`
	Model         bool          `help:"Let a stand-in for a language model answer what no workflow does."`
	ModelListen   string        `default:"127.0.0.1:8084" env:"CHATLEDGER_MODEL" help:"Address of the stand-in."`
	Operators     string        `default:"127.0.0.1:8090" env:"CHATLEDGER_OPERATORS" help:"Address of the operators' API."`
	DataDir       string        `default:".data" env:"CHATLEDGER_DATA_DIR" help:"Where the private PostgreSQL keeps its data and the file dsn."`
	ChatLimit     int           `default:"0" help:"Messages of one chat that are answered in a minute; 0 is no limit."`
	ReorderWindow time.Duration `default:"0s" help:"How long an update waits for others of its chat with lower ids."`
	tracingFlags
}

// The demo bot. Its token and secret open nothing but the simulator.
const (
	demoToken  = "100000001:demo-token-for-the-simulator-only"
	demoSecret = "demo-secret"
	// stopServer bounds the end of the private PostgreSQL.
	stopServer = 10 * time.Second
)

// Run starts everything a newcomer needs, and stops it in reverse.
func (c *devCmd) Run(e *env) (err error) {
	webhook, err := server.Listen(c.Listen, "--listen")
	if err != nil {
		return err
	}
	defer webhook.Close()
	page, err := server.Listen(c.Sim, "--sim")
	if err != nil {
		return err
	}
	defer page.Close()
	shop, err := server.Listen(c.CRM, "--crm")
	if err != nil {
		return err
	}
	defer shop.Close()
	desk, err := server.Listen(c.Zendesk, "--zendesk")
	if err != nil {
		return err
	}
	defer desk.Close()
	team, err := server.Listen(c.Operators, "--operators")
	if err != nil {
		return err
	}
	defer team.Close()

	dsn, query := c.DatabaseURL, `psql "$DATABASE_URL"`
	if dsn == "" || pgdev.IsDSNOf(c.DataDir, dsn) { // exported from the file, perhaps after the server ended
		server, err := pgdev.Start(e.ctx, pgdev.Config{Dir: c.DataDir, Log: e.log})
		if err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), stopServer)
			defer cancel()
			err = errors.Join(err, server.Stop(ctx))
		}()
		dsn, query = server.DSN(), fmt.Sprintf("psql \"$(cat %s)\"", filepath.Join(c.DataDir, "dsn"))
	}
	if _, _, err := schema.Migrate(e.ctx, dsn); err != nil {
		return err
	}
	simulator, err := startSimulator(e, dsn, page)
	if err != nil {
		return err
	}
	defer simulator()

	fakeCRM := &http.Server{Handler: crmsim.New(crmsim.Options{}), ReadHeaderTimeout: server.HeaderTimeout}
	go fakeCRM.Serve(shop)
	defer fakeCRM.Close()
	base := "http://" + webhook.Addr().String()
	account := demoAccount("http://" + desk.Addr().String())
	// It forgets its tickets when it stops. What it numbers then must not look like what came before.
	fakeZendesk := &http.Server{ReadHeaderTimeout: server.HeaderTimeout, Handler: zendesksim.New(zendesksim.Options{
		Email: account.Email, Token: account.Token, Hook: base + "/zendesk/demo", Secret: account.WebhookSecret, FirstID: time.Now().UnixMilli()})}
	go fakeZendesk.Serve(desk)
	defer fakeZendesk.Close()

	bot := config.Bot{Token: demoToken, Secret: demoSecret, CRM: &config.CRM{URL: "http://" + shop.Addr().String()}, Zendesk: account, ReorderWindow: c.ReorderWindow, ChatLimit: &config.ChatLimit{Count: c.ChatLimit, Window: time.Minute}}
	if c.Model {
		model, stop, err := fakeModel(c.ModelListen)
		if err != nil {
			return err
		}
		defer stop()
		bot.Model = model
	}
	api := "http://" + page.Addr().String()
	a, err := server.New(e.ctx, server.Config{DSN: dsn, Bots: map[string]config.Bot{"demo": bot}, TelegramURL: api, Listener: webhook, Operators: team, Log: e.log, Version: programVersion(), Tracing: c.tracing()})
	if err != nil {
		return err
	}
	token, err := demoOperator(e.ctx, a.Store)
	if err != nil {
		return err
	}
	e.show("chat", api+"/")
	e.show("webhook", base+"/webhook/demo (secret "+demoSecret+")")
	e.show("crm", bot.CRM.URL+"/fake/updates (and /fake/refunds, /fake/cases)")
	e.show("zendesk", account.URL+"/fake/tickets")
	if bot.Model != nil {
		e.show("model", strings.TrimSuffix(bot.Model.URL, "/v1")+"/fake/requests (and /fake/answers)")
	}
	e.show("operators", "http://"+team.Addr().String()+"/api/v1/queue (Authorization: Bearer <token>)")
	e.show("token", token)
	e.show("tables", query+" -c 'table readmodel.conversations'")
	go e.announceReady(base, func() error { return setWebhook(e.ctx, api, bot, base+"/webhook/demo") })
	return a.Run(e.ctx)
}

// show prints where something is, in lines that fit a narrow terminal.
func (e *env) show(what, where string) { fmt.Fprintf(e.stdout, "%-9s %s\n", what, where) }

// demoAccount is the demo bot's account at the fake Zendesk.
func demoAccount(url string) *config.Zendesk {
	rate := float64(config.ZendeskRate)
	return &config.Zendesk{URL: url, Email: "bot@example.com", Token: "demo-token", WebhookSecret: demoSecret, Rate: &rate}
}

// startSimulator serves Telegram's side and returns what stops it. Update ids go
// on where the last run left off, as Telegram's would.
func startSimulator(e *env, dsn string, on net.Listener) (stop func(), err error) {
	conn, err := pgx.Connect(e.ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(e.ctx))
	var last int64
	if err := conn.QueryRow(e.ctx, `select coalesce(max(update_id), 0) from eventstore.inbox where bot = 'demo'`).Scan(&last); err != nil {
		return nil, err
	}
	first := last + 1
	if last == 0 {
		first = 0 // at random
	}
	simulator := telegramsim.New(telegramsim.Options{Log: e.log, FirstUpdateID: first,
		Bots: []telegramsim.Bot{{Token: demoToken, Username: "demo_bot", Name: "chatledger demo"}}})
	server := &http.Server{Handler: simulator, ReadHeaderTimeout: server.HeaderTimeout}
	go server.Serve(on)
	return func() {
		simulator.Close()
		server.Close()
	}, nil
}

// announceReady registers the webhook once the receiver answers, and says so.
func (e *env) announceReady(base string, register func() error) {
	const every = 10 * time.Millisecond
	for e.ctx.Err() == nil {
		resp, err := http.Get(base + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		time.Sleep(every)
	}
	if err := register(); err != nil {
		if e.ctx.Err() == nil {
			e.log.Error("the webhook is not registered with the simulator", "error", err)
		}
		return
	}
	e.show("ready", "Ctrl-C stops everything")
}

// demoOperator gives the demo's operator a new token.
func demoOperator(ctx context.Context, store *eventstore.Store) (token string, err error) {
	token, hash := operators.NewToken()
	return token, accounts.New(store.DB).PutOperator(ctx, "demo", commands.Admin, hash, nil)
}

func setWebhook(ctx context.Context, api string, b config.Bot, url string) error {
	client, err := telegram.NewClient(api, b.Token)
	if err != nil {
		return err
	}
	return client.SetWebhook(ctx, telegram.Registration{URL: url, Secret: b.Secret, AllowedUpdates: b.AllowedUpdates, MaxConnections: b.MaxConnections})
}

package dev

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/guard"
	crmsim "github.com/chatledger/chatledger/adapters/simulators/crm"
	llmsim "github.com/chatledger/chatledger/adapters/simulators/llm"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	zendesksim "github.com/chatledger/chatledger/adapters/simulators/zendesk"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Prices of the simulated language model, in USD per million tokens: those of a small model.
const (
	priceIn  = 0.15
	priceOut = 0.6
)

// closer is what must be closed when the trial ends.
type closer interface{ Close() error }

// closers are the open listeners and simulators, in the order in which they were opened.
type closers []closer

// close closes all in reverse order. Further calls do nothing.
func (cs *closers) close() {
	for _, c := range slices.Backward(*cs) {
		c.Close()
	}
	*cs = nil
}

func (cs *closers) listen(address, flag string) (net.Listener, error) {
	l, err := server.Listen(address, flag)
	if err == nil {
		*cs = append(*cs, l)
	}
	return l, err
}

func (cs *closers) serve(on net.Listener, handler http.Handler) {
	s := &http.Server{Handler: guard.SameOrigin(on.Addr(), handler), ReadHeaderTimeout: server.HeaderTimeout}
	go s.Serve(on)
	*cs = append(*cs, s)
}

// telegram serves the simulated Bot API. Update ids continue after those of the last run, as
// Telegram's would.
func (cs *closers) telegram(ctx context.Context, on net.Listener, dsn string, known handlers, log *slog.Logger) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	const query = `select coalesce(max(update_id), 0) from eventstore.inbox where bot = $1`
	var last int64
	if err := conn.QueryRow(ctx, query, BotName).Scan(&last); err != nil {
		return err
	}
	first := last + 1
	if last == 0 {
		first = 0 // at random
	}
	simulator := telegramsim.New(telegramsim.Options{
		Log: log, FirstUpdateID: first, Handlers: known,
		Bots: []telegramsim.Bot{{Token: Token, Username: "demo_bot", Name: "chatledger demo"}},
	})
	cs.serve(on, simulator)
	*cs = append(*cs, telegramCloser{simulator})
	return nil
}

// telegramCloser adapts the simulator's Close.
type telegramCloser struct{ *telegramsim.Server }

func (c telegramCloser) Close() error {
	c.Server.Close()
	return nil
}

func (cs *closers) crm(on net.Listener) { cs.serve(on, crmsim.New(crmsim.Options{})) }

// zendesk serves the simulated help desk. It keeps no tickets when it stops, so its ids begin
// at the time in milliseconds and never repeat those of an earlier run.
func (cs *closers) zendesk(on net.Listener, account *config.Zendesk, base string) {
	cs.serve(on, zendesksim.New(zendesksim.Options{
		Email: account.Email, Token: account.Token,
		Hook: base + "/zendesk/" + BotName, Secret: account.WebhookSecret,
		FirstID: time.Now().UnixMilli(),
	}))
}

// ZendeskAccount returns the demo bot's account at the simulated Zendesk.
func ZendeskAccount(url string) *config.Zendesk {
	rate := float64(config.ZendeskRate)
	return &config.Zendesk{
		URL: url, Email: "bot@example.com", Token: "demo-token", WebhookSecret: Secret, Rate: &rate,
	}
}

// model serves the simulated language model and returns the settings of a bot that uses it.
func (cs *closers) model(address string) (*config.Model, error) {
	on, err := cs.listen(address, "--model-listen")
	if err != nil {
		return nil, err
	}
	cs.serve(on, llmsim.New(llmsim.Options{}))
	return &config.Model{
		URL: "http://" + on.Addr().String() + "/v1", Name: "stand-in",
		PriceIn: priceIn, PriceOut: priceOut, Use: dialog.LLMAlways,
	}, nil
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/crm"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/telegram"
	shown "github.com/chatledger/chatledger/cmd/internal/admin/progress"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/commands/whatif"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/projections/sandbox"
)

type replayCmd struct {
	database
	Sandbox bool   `help:"Say that you mean this: chats are decided again in a throwaway schema, and nothing can be sent. There is no other way."`
	Bots    string `env:"CHATLEDGER_BOTS" placeholder:"FILE" help:"Settings to decide with, and the bots to replay; without a file, all bots with what their settings led to then."`
	Bot     string `xor:"which" placeholder:"NAME" help:"Chats of one bot."`
	Stream  string `xor:"which" placeholder:"ID" help:"One chat, for example chat-demo:42."`
	Since   string `placeholder:"TIME" help:"Decide only what was recorded since, as 2026-01-31T12:00:00Z; the state before is taken as it was."`
	Limit   int    `placeholder:"N" help:"At most so many chats."`
	JSON    bool   `name:"json" help:"One JSON object a line: the differences, then the summary."`
	Keep    bool   `help:"Keep the schema with the tables that the replay led to, and print its name."`
}

// replayBatch is how many chats are read at once: with some 50 events each and their
// updates, about 10 MB.
const replayBatch = 100

// dropTimeout bounds the end of a replay that was stopped.
const dropTimeout = 10 * time.Second

// Run decides recorded chats again and reports what comes out otherwise; a
// difference is an error.
func (c *replayCmd) Run(e *env) error {
	if !c.Sandbox {
		return errors.New("say --sandbox: a replay decides recorded chats again in a throwaway schema, and has no way to send; there is no other kind")
	}
	r, err := c.prepare(e)
	if err != nil {
		return err
	}
	store, conn, leave, err := openSession(e.ctx, c.database, "replay")
	if err != nil {
		return err
	}
	defer leave()
	if r.sandbox, err = sandbox.Open(e.ctx, conn); err != nil {
		return err
	}
	err = r.run(e.ctx, eventstore.Ledger{Store: store})
	closing, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), dropTimeout)
	defer cancel()
	if err := errors.Join(err, r.sandbox.Close(closing)); err != nil {
		return err
	}
	if t := r.tally; t.DecisionsThatDiffer > 0 {
		return fmt.Errorf("%d of %d decisions differ, in %d of %d chats", t.DecisionsThatDiffer, t.Decisions, t.ChatsThatDiffer, t.Chats)
	}
	return nil
}

// replay is one run.
type replay struct {
	*replayCmd
	since    time.Time
	bots     []string // those to replay; one without a name for all
	settings func(bot string) whatif.Settings
	turned   domain.Position
	sandbox  *sandbox.Sandbox
	tally    whatif.Tally
	out      io.Writer
	progress io.Writer
	told     time.Time // when the last line of progress was written
}

// prepare checks the flags and reads the settings.
func (c *replayCmd) prepare(e *env) (*replay, error) {
	shop, err := config.ShopKnowledge()
	if err != nil {
		return nil, err
	}
	r := &replay{replayCmd: c, bots: []string{c.Bot}, settings: func(bot string) whatif.Settings { return asRecorded(bot, shop) }, out: e.stdout, progress: e.stderr, told: time.Now()}
	if c.Since != "" {
		if r.since, err = time.Parse(time.RFC3339, c.Since); err != nil {
			return nil, fmt.Errorf("--since %q: write it as 2026-01-31T12:00:00Z", c.Since)
		}
	}
	if _, inChat := domain.StreamID(c.Stream).Chat(); c.Stream != "" && !inChat {
		return nil, fmt.Errorf("--stream %q is no chat: write chat-<bot>:<chat id>", c.Stream)
	}
	if c.Bots == "" {
		return r, nil
	}
	bots, err := config.ReadSettings(c.Bots)
	if err != nil {
		return nil, err
	}
	byBot := map[string]whatif.Settings{}
	for name, b := range bots {
		if byBot[name], err = decidesWith(name, b, e.log); err != nil {
			return nil, fmt.Errorf("bots file %s: bot %s: %w", c.Bots, name, err)
		}
	}
	r.settings = func(bot string) whatif.Settings { return byBot[bot] }
	switch one := cmp.Or(c.Bot, domain.StreamID(c.Stream).Bot()); {
	case one == "":
		r.bots = slices.Sorted(maps.Keys(byBot))
	case byBot[one].Translate == nil:
		return nil, fmt.Errorf("bots file %s has no bot %s", c.Bots, one)
	}
	return r, nil
}

// asRecorded decides with today's program and with what a bot's settings led to then.
func asRecorded(bot string, k *dialog.Knowledge) whatif.Settings {
	return whatif.Settings{With: chat.Settings{Knowledge: k}, Translate: func(update []byte, at time.Time) (commands.Request, error) {
		return telegram.Translate(telegram.Bot{Name: bot}, update, at)
	}}
}

// decidesWith is what of a bot's settings matters to decisions. Other systems are not
// called: they answer what they answered then.
func decidesWith(name string, b config.Bot, log *slog.Logger) (whatif.Settings, error) {
	k, err := b.ReadKnowledge(log)
	if err != nil {
		return whatif.Settings{}, err
	}
	desk := ""
	if b.Zendesk != nil {
		desk = chat.DeskZendesk
	}
	s := asRecorded(name, k)
	s.Limit, s.Desk = &chat.Limit{Count: b.ChatLimit.Count, Window: b.ChatLimit.Window}, &desk
	orders, err := b.ReadOrders()
	s.With.Tools = crm.ToolsWith(orders != nil, b.CRM != nil)
	s.With = b.Model.Informs(s.With)
	if catalogue, ok := orders.(crm.Catalogue); ok {
		s.Order = func(number string) (dialog.Order, bool) {
			order, found, _ := catalogue.Order(context.Background(), number, crm.Asker{}) // a list never fails
			return order, found
		}
	}
	return s, err
}

// run replays chat by chat, in order of their ids, and reports.
func (r *replay) run(ctx context.Context, ledger eventstore.Ledger) (err error) {
	// Before any chat is read: the turns up to here are in what is read then.
	if r.turned, err = ledger.Reached(ctx, "responder"); err != nil {
		return err
	}
	for _, bot := range r.bots {
		for after := domain.StreamID(""); ; {
			chats, last, err := r.read(ctx, ledger, bot, after)
			if err != nil {
				return err
			}
			for _, c := range chats {
				if err := r.decide(ctx, c); err != nil {
					return err
				}
			}
			if after = last; last == "" {
				break
			}
			if time.Since(r.told) >= shown.LineEvery {
				r.told = time.Now()
				fmt.Fprintf(r.progress, "%d chats decided again, up to %s; %d differ\n", r.tally.Chats, last, r.tally.ChatsThatDiffer)
			}
		}
	}
	if r.tally.Chats == 0 && r.Stream != "" {
		return fmt.Errorf("there is no stream %s: `chatledger events` shows those there are", r.Stream)
	}
	return r.finish(ctx)
}

// read reads the next chats of a bot; last is "" when there are none behind them.
func (r *replay) read(ctx context.Context, ledger eventstore.Ledger, bot string, after domain.StreamID) (chats []whatif.Chat, last domain.StreamID, err error) {
	batch := replayBatch
	if r.Limit > 0 {
		batch = min(batch, r.Limit-r.tally.Chats)
	}
	err = pgx.BeginTxFunc(ctx, ledger.Pool(), pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		streams := []domain.StreamID{domain.StreamID(r.Stream)}
		if r.Stream == "" {
			if streams, err = ledger.Chats(ctx, tx, bot, r.since, after, batch); err != nil || len(streams) == 0 {
				return err
			}
			if len(streams) == batch {
				last = streams[batch-1]
			}
		}
		histories, err := ledger.Histories(ctx, tx, streams, domain.Position{Transaction: math.MaxInt64, Number: math.MaxInt64})
		if err != nil {
			return err
		}
		updates, err := ledger.Updates(ctx, tx, streams)
		for _, stream := range streams {
			if history := histories[stream]; len(history) > 0 {
				chats = append(chats, whatif.Chat{History: history, Updates: updates[stream], Since: r.since, Turned: r.turned})
			}
		}
		return err
	})
	return chats, last, err
}

// decide replays one chat.
func (r *replay) decide(ctx context.Context, c whatif.Chat) error {
	outcome, err := whatif.Replay(c, r.settings(c.History[0].Stream.Bot()))
	if err != nil {
		return err
	}
	r.tally.Add(outcome)
	for _, d := range outcome.Differences {
		if err := r.print(d); err != nil {
			return err
		}
	}
	return r.sandbox.Fold(ctx, outcome.Events)
}

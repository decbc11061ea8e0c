// Package replay decides recorded chats again, in a sandbox that cannot send, and reports the
// decisions that differ.
package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/cmd/internal/admin/inspect"
	"github.com/chatledger/chatledger/cmd/internal/admin/progress"
	"github.com/chatledger/chatledger/commands/whatif"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections/sandbox"
)

const (
	// batchChats is how many chats are read at once: with some 50 events each and their
	// updates, about 10 MB.
	batchChats = 100
	// dropTimeout limits how long the sandbox of an interrupted replay takes to be dropped.
	dropTimeout = 10 * time.Second
)

// Replay is one run. The fields in upper case are its settings.
type Replay struct {
	Bots      []string        // the bots to replay; one empty name for all bots
	Stream    domain.StreamID // when not empty, only this chat
	Since     time.Time       // decide only what was recorded since
	Limit     int             // the number of chats; 0 for all
	JSON      bool
	Keep      bool // keep the sandbox's schema
	Settings  func(bot string) whatif.Settings
	Responder string // the consumer group that answers messages
	Out       io.Writer
	ErrOut    io.Writer // for progress

	turned  domain.Position
	sandbox *sandbox.Sandbox
	tally   whatif.Tally
	lined   time.Time // when the last line of progress was printed
}

// Run replays the chats and reports what differs. A difference is an error.
func (r *Replay) Run(ctx context.Context, store *eventstore.Store, conn *pgx.Conn) (err error) {
	r.lined = time.Now()
	if r.sandbox, err = sandbox.Open(ctx, conn); err != nil {
		return err
	}
	err = r.run(ctx, eventstore.Ledger{Store: store})
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
	if err := errors.Join(err, r.sandbox.Close(closing)); err != nil {
		return err
	}
	if t := r.tally; t.DecisionsThatDiffer > 0 {
		return fmt.Errorf("%d of %d decisions differ, in %d of %d chats",
			t.DecisionsThatDiffer, t.Decisions, t.ChatsThatDiffer, t.Chats)
	}
	return nil
}

// run replays the chats in the order of their ids, and reports.
func (r *Replay) run(ctx context.Context, ledger eventstore.Ledger) (err error) {
	// This comes before any chat is read, so that the histories contain the turns up to here.
	if r.turned, err = ledger.Reached(ctx, r.Responder); err != nil {
		return err
	}
	for _, bot := range r.Bots {
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
			if time.Since(r.lined) >= progress.LineEvery {
				r.lined = time.Now()
				fmt.Fprintf(r.ErrOut, "%d chats decided again, up to %s; %d differ\n",
					r.tally.Chats, last, r.tally.ChatsThatDiffer)
			}
		}
	}
	if r.tally.Chats == 0 && r.Stream != "" {
		return inspect.NoStream(r.Stream)
	}
	return r.finish(ctx)
}

// read reads the next chats of a bot. last is empty when no chats follow them.
func (r *Replay) read(
	ctx context.Context, ledger eventstore.Ledger, bot string, after domain.StreamID,
) (chats []whatif.Chat, last domain.StreamID, err error) {
	batch := batchChats
	if r.Limit > 0 {
		batch = min(batch, r.Limit-r.tally.Chats)
	}
	err = pgx.BeginTxFunc(ctx, ledger.Pool(), pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		streams := []domain.StreamID{r.Stream}
		if r.Stream == "" {
			if streams, err = ledger.Chats(ctx, tx, bot, r.Since, after, batch); err != nil || len(streams) == 0 {
				return err
			}
			if len(streams) == batch {
				last = streams[batch-1]
			}
		}
		end := domain.Position{Transaction: math.MaxInt64, Number: math.MaxInt64}
		histories, err := ledger.Histories(ctx, tx, streams, end)
		if err != nil {
			return err
		}
		updates, err := ledger.Updates(ctx, tx, streams)
		for _, stream := range streams {
			if history := histories[stream]; len(history) > 0 {
				chats = append(chats, whatif.Chat{
					History: history, Updates: updates[stream], Since: r.Since, Turned: r.turned,
				})
			}
		}
		return err
	})
	return chats, last, err
}

// decide replays one chat.
func (r *Replay) decide(ctx context.Context, c whatif.Chat) error {
	outcome, err := whatif.Replay(c, r.Settings(c.History[0].Stream.Bot()))
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

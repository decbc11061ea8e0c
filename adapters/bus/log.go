// Package bus carries events and deliveries to their handlers through Watermill.
// Two subscribers feed it: Log hands the event feed to a consumer group, page by
// page and in order; Leases hands out deliveries, the head of each ordering key.
package bus

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Reader reads the feed for one consumer group that this process leads.
type Reader interface {
	// Next waits for events behind the checkpoint and returns at most limit; none when there is
	// a request for a parked stream.
	Next(ctx context.Context, limit int) ([]domain.Recorded, error)
	Begin(context.Context) (pgx.Tx, error)
	// Advance moves the checkpoint behind the page and commits, or fails for good.
	Advance(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error
	Parking
	Close()
}

// Parking keeps the streams that the group leaves out.
type Parking interface {
	// OfContent reports whether a handler's error is caused by the events, so that it comes
	// again whenever they do.
	OfContent(error) bool
	// LeftOut reports whether an event is of a parked stream, and not before the one that failed, or
	// of a bot whose chats are held.
	LeftOut(domain.Recorded) bool
	// Park leaves a stream out from an event on, once tx is committed.
	Park(ctx context.Context, tx pgx.Tx, r domain.Recorded, cause error, tries int) error
	// Requested returns the parked streams that are to be retried or skipped.
	Requested() []commands.Parked
	// Hold leaves out all chats of a bot, from behind the last page on, once tx is committed.
	Hold(ctx context.Context, tx pgx.Tx, bot string, cause error) error
	// LeftOutEvents reads the first of the events that were left out of a parked stream.
	LeftOutEvents(ctx context.Context, p commands.Parked, limit int) (commands.LeftOut, error)
	// Release commits what was written for these events.
	Release(ctx context.Context, tx pgx.Tx, p commands.Parked, left commands.LeftOut) error
	// EventName is the stored name of an event.
	EventName(domain.Recorded) string
}

const (
	// pageSize is how many events one message carries: enough to make a page's
	// fixed costs, some six round trips, small beside the work, and few enough to
	// be handled in tens of milliseconds.
	pageSize = 1000
	// Attempts at a page that was refused, and at leading, start this far apart and double
	// up to retryMax: a page is never skipped. When the database is back after a long
	// absence, customers wait for this, too.
	retryMin = 50 * time.Millisecond
	retryMax = time.Second
	// giveUpFor is how long a group is left to others that was given up to them: four times the
	// pause after which they try to lead it.
	giveUpFor = 2 * time.Second
)

// Log is a Watermill subscriber to the event feed for one consumer group. A
// message is a page of events; its context carries them and the transaction in which
// the handler writes. An ack moves the checkpoint in that transaction and commits
// both; a nack rolls back, and the page is read again from the checkpoint. When the handler
// failed because of what the events contain, their streams are parked instead: see handle.
type Log struct {
	group   string
	lead    func(ctx context.Context, group string) (Reader, error)
	log     *slog.Logger
	observe func(group string, page []domain.Recorded, took time.Duration)
	linger  time.Duration
	holds   func(domain.Recorded) bool
	told    map[string]bool // the bots of which the log says that they are held
	*subscriptions
}

// NewLog returns a subscriber for a group. lead waits until this process leads
// it; observe is told of each page that was committed.
func NewLog(group string, lead func(context.Context, string) (Reader, error), log *slog.Logger,
	observe func(group string, page []domain.Recorded, took time.Duration)) *Log {
	return &Log{
		group: group, lead: lead, log: log.With("group", group), observe: observe,
		holds: func(domain.Recorded) bool { return false }, told: map[string]bool{}, subscriptions: newSubscriptions(),
	}
}

// Linger makes the group wait this long after a page that was not full, so that the
// next is fuller: for groups that nobody waits for, whose many small commits would be
// in the way of others'.
func (l *Log) Linger(d time.Duration) *Log {
	l.linger = d
	return l
}

// Hold holds all chats of a bot, in the order of their events, from an event on for which holds is
// true: this process cannot handle it now, and none of the bot's.
func (l *Log) Hold(holds func(domain.Recorded) bool) *Log {
	l.holds = holds
	return l
}

// Subscribe implements message.Subscriber.
func (l *Log) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	return l.begin(ctx, func(ctx context.Context, out chan<- *message.Message) {
		for ctx.Err() == nil {
			// A page that was kept ends the growth of the pauses: after hours of quiet
			// work, one interruption is the first.
			wait.Retry(ctx, retryMin, retryMax, func() error {
				kept, err := l.follow(ctx, out)
				if errors.Is(err, commands.ErrParkedChanged) {
					l.log.Info("parked streams were changed; reading them again")
				} else if errors.Is(err, commands.ErrGroupGivenUp) {
					l.log.Info("consumer group given up to a process that has a held bot in its bots file")
					return wait.For(ctx, giveUpFor)
				} else if ctx.Err() == nil {
					l.log.Error("consumer group interrupted; retrying from its checkpoint", "error", err)
				}
				if kept {
					return nil
				}
				return err
			})
		}
	}), nil
}

// follow leads the group and hands out pages until something fails. It tells
// whether any page was kept.
func (l *Log) follow(ctx context.Context, out chan<- *message.Message) (kept bool, err error) {
	reader, err := l.lead(ctx, l.group)
	if err != nil {
		return false, err
	}
	defer reader.Close()
	l.log.Debug("leading consumer group")
	for {
		if err := l.release(ctx, reader, out); err != nil {
			return kept, err
		}
		page, err := reader.Next(ctx, pageSize)
		if err != nil {
			return kept, err
		}
		if len(page) == 0 {
			continue
		}
		begun := time.Now()
		if err := l.handle(ctx, reader, page, out); err != nil {
			return kept, named(page, err)
		}
		kept = true
		l.observe(l.group, page, time.Since(begun))
		if len(page) < pageSize && l.linger > 0 {
			_ = wait.For(ctx, l.linger)
		}
	}
}

// pageInfo is the payload of a page's message.
type pageInfo struct {
	First  string `json:"first"`
	Last   string `json:"last"`
	Events int    `json:"events"`
}

type pageKey struct{}

type pageInTx struct {
	events []domain.Recorded
	tx     pgx.Tx
	err    error // why the handler rejected it
}

func newPage(ctx context.Context, page []domain.Recorded, tx pgx.Tx) *message.Message {
	last := page[len(page)-1]
	payload, err := json.Marshal(pageInfo{page[0].Position.String(), last.Position.String(), len(page)})
	if err != nil {
		panic(err) // two strings and a number
	}
	msg := message.NewMessage(watermill.NewUUID(), payload)
	msg.SetContext(context.WithValue(ctx, pageKey{}, &pageInTx{events: page, tx: tx}))
	return msg
}

var errNacked = errors.New("the handler rejected the page")

var _ message.Subscriber = (*Log)(nil)

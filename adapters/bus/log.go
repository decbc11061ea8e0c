// Package bus passes events and deliveries to their handlers through Watermill. It has two subscribers:
// Log reads the event feed for a consumer group, page by page and in order; Leases claims deliveries, the
// first one of each ordering key.
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
	// Next waits for events after the checkpoint and returns at most limit. It returns none if there
	// is a request for a parked stream.
	Next(ctx context.Context, limit int) ([]domain.Recorded, error)
	Begin(context.Context) (pgx.Tx, error)
	// Advance moves the checkpoint to the end of the page and commits. After an error the reader must
	// be closed.
	Advance(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error
	Parking
	Close()
}

// Parking holds the streams that the group leaves out.
type Parking interface {
	// OfContent reports whether the content of the events is the cause of a handler's error, so that
	// every further attempt fails, too.
	OfContent(error) bool
	// LeftOut reports whether an event is left out: because its stream is parked at it or at an
	// earlier event, or because the chats of its bot are held.
	LeftOut(domain.Recorded) bool
	// Park parks a stream from an event on. It takes effect when tx is committed.
	Park(ctx context.Context, tx pgx.Tx, r domain.Recorded, cause error, tries int) error
	// Requested returns the parked streams that are to be retried or skipped.
	Requested() []commands.Parked
	// Hold holds all chats of a bot, from the next page on. It takes effect when tx is committed.
	Hold(ctx context.Context, tx pgx.Tx, bot string, cause error) error
	// LeftOutEvents reads the first events that were left out of a parked stream.
	LeftOutEvents(ctx context.Context, p commands.Parked, limit int) (commands.LeftOut, error)
	// Release ends the parking of these events, and commits.
	Release(ctx context.Context, tx pgx.Tx, p commands.Parked, left commands.LeftOut) error
	// EventName returns the stored name of an event.
	EventName(domain.Recorded) string
}

const (
	// pageSize is the number of events in a message: so many that a page's fixed costs, some six round
	// trips, are small in comparison, and so few that a page is handled in tens of milliseconds.
	pageSize = 1000
	// The backoff between attempts at a rejected page, and at leading, doubles from retryMin to
	// retryMax. A page is never skipped. After an outage of the database, customers wait up to retryMax.
	retryMin = 50 * time.Millisecond
	retryMax = time.Second
	// giveUpFor is how long this process does not try to lead a group that it has given up to another
	// process: four times the pause after which others try.
	giveUpFor = 2 * time.Second
)

// Log is a Watermill subscriber to the event feed for one consumer group. A message is a page of events. Its
// context has the events and the transaction in which the handler writes. An ack moves the checkpoint in that
// transaction and commits both. A nack rolls it back, and the page is read again from the checkpoint. If the
// content of events makes the handler fail, their streams are parked instead: see handle.
type Log struct {
	group   string
	lead    func(ctx context.Context, group string) (Reader, error)
	log     *slog.Logger
	observe func(group string, page []domain.Recorded, took time.Duration)
	linger  time.Duration
	holds   func(domain.Recorded) bool
	logged  map[string]bool // bots for which the log has said that their chats are held
	*subscriptions
}

// NewLog returns a subscriber for a group. lead waits until this process leads the group; observe is called for
// each committed page.
func NewLog(
	group string, lead func(context.Context, string) (Reader, error), log *slog.Logger,
	observe func(group string, page []domain.Recorded, took time.Duration),
) *Log {
	return &Log{
		group: group, lead: lead, log: log.With("group", group), observe: observe,
		holds: func(domain.Recorded) bool { return false }, logged: map[string]bool{}, subscriptions: newSubscriptions(),
	}
}

// Linger makes the group wait this long after a page that was not full, so that the next page has more events.
// It is for groups whose lag does not matter, and whose many small commits would delay others.
func (l *Log) Linger(d time.Duration) *Log {
	l.linger = d
	return l
}

// Hold holds all chats of a bot from an event on for which holds returns true: this process cannot handle the
// events of that bot now. Their order is kept.
func (l *Log) Hold(holds func(domain.Recorded) bool) *Log {
	l.holds = holds
	return l
}

// Subscribe implements message.Subscriber.
func (l *Log) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	return l.begin(ctx, func(ctx context.Context, out chan<- *message.Message) {
		for ctx.Err() == nil {
			// A committed page resets the backoff: after hours without failures, the next one
			// counts as the first.
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

// follow leads the group and passes on its pages until something fails. kept reports whether any page was
// committed.
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
	err    error // the handler's error
}

func newPage(ctx context.Context, page []domain.Recorded, tx pgx.Tx) *message.Message {
	last := page[len(page)-1]
	payload, err := json.Marshal(pageInfo{page[0].Position.String(), last.Position.String(), len(page)})
	if err != nil {
		panic(err) // two strings and a number can always be encoded
	}
	msg := message.NewMessage(watermill.NewUUID(), payload)
	msg.SetContext(context.WithValue(ctx, pageKey{}, &pageInTx{events: page, tx: tx}))
	return msg
}

var errNacked = errors.New("the handler rejected the page")

var _ message.Subscriber = (*Log)(nil)

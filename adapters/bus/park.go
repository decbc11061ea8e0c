package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

const (
	// pageTries is the number of attempts at a page whose content makes the handler fail: two with the
	// whole page, and one stream by stream, which parks the streams that fail.
	pageTries = 3
	// tryPause is the pause before the second attempt; it doubles. The other streams of the group wait
	// for both pauses, which are well below the second that a group may lag.
	tryPause = 50 * time.Millisecond
)

// handlerError is an error of the handler, not of the transaction around it.
type handlerError struct{ cause error }

func (e handlerError) Error() string { return e.cause.Error() }

func (e handlerError) Unwrap() error { return e.cause }

// handle passes a page to the handler and moves the checkpoint to its end. If the content makes the handler
// fail, the streams that fail are parked and the others are handled.
func (l *Log) handle(ctx context.Context, reader Reader, page []domain.Recorded, out chan<- *message.Message) error {
	held := l.held(reader, page)
	events, unreadable := domain.Readable(page, func(r domain.Recorded) bool {
		return reader.LeftOut(r) || slices.Contains(held, r.Stream.Bot())
	})
	var failed error
	for try := 1; try < pageTries; try++ {
		err := l.commit(ctx, reader, page, held, unreadable, func(tx pgx.Tx) ([]domain.Failure, error) {
			return nil, l.give(ctx, events, tx, out)
		})
		if err == nil || !ofContent(reader, err) {
			return err
		}
		l.log.Warn("events not handled; trying again", "events", len(events), "try", try, "error", err)
		failed = err
		if err := wait.For(ctx, tryPause<<(try-1)); err != nil {
			return errors.Join(failed, err)
		}
	}
	return l.commit(ctx, reader, page, held, unreadable, func(tx pgx.Tx) ([]domain.Failure, error) {
		return l.isolate(ctx, reader, tx, events, out)
	})
}

// held returns the bots of a page whose chats are to be held.
func (l *Log) held(reader Reader, page []domain.Recorded) (bots []string) {
	for _, r := range page {
		if l.holds(r) && !reader.LeftOut(r) && !slices.Contains(bots, r.Stream.Bot()) {
			bots = append(bots, r.Stream.Bot())
		}
	}
	return bots
}

// commit handles events of a page by apply in a transaction. In the same transaction it holds bots, parks the
// streams that failed, and moves the checkpoint to the end of the page.
func (l *Log) commit(
	ctx context.Context, reader Reader, page []domain.Recorded, held []string, failed []domain.Failure,
	apply func(pgx.Tx) ([]domain.Failure, error),
) error {
	tx, err := reader.Begin(ctx)
	if err != nil {
		return err
	}
	more, err := apply(tx)
	if err != nil {
		return errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
	}
	// The work is done, so it is committed even if the program is stopping.
	ctx = context.WithoutCancel(ctx)
	if err := l.hold(ctx, reader, tx, held); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	if err := l.park(ctx, reader, tx, slices.Concat(failed, more)); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	return reader.Advance(ctx, tx, page)
}

// hold holds the chats of bots, and logs it once for each bot.
func (l *Log) hold(ctx context.Context, reader Reader, tx pgx.Tx, bots []string) error {
	for _, bot := range bots {
		if err := reader.Hold(ctx, tx, bot, commands.ErrNotServed); err != nil {
			return err
		}
		if !l.logged[bot] {
			l.logged[bot] = true
			l.log.Error("the chats of a bot are held, because the bot is not in the bots file of this process; "+
				"add the bot to it, or see `chatledger parked`", "bot", bot)
		}
	}
	return nil
}

func (l *Log) park(ctx context.Context, reader Reader, tx pgx.Tx, failed []domain.Failure) error {
	for _, f := range failed {
		tries := pageTries
		if f.Event.Unreadable != nil {
			tries = 1 // further attempts would fail, too
		}
		if err := reader.Park(ctx, tx, f.Event, f.Cause, tries); err != nil {
			return err
		}
		l.log.Error("stream parked; see `chatledger parked`", "stream", f.Event.Stream, "version", f.Event.Version,
			"event", reader.EventName(f.Event), "error", f.Cause)
	}
	return nil
}

// give passes events to the handler and waits for its ack or nack.
func (l *Log) give(ctx context.Context, events []domain.Recorded, tx pgx.Tx, out chan<- *message.Message) error {
	if len(events) == 0 {
		return nil
	}
	msg := newPage(ctx, events, tx)
	select {
	case out <- msg:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-msg.Acked():
		return nil
	case <-msg.Nacked():
		if p := msg.Context().Value(pageKey{}).(*pageInTx); p.err != nil {
			return handlerError{p.err}
		}
		return errNacked
	}
}

// isolate handles the events stream by stream, and returns the events at which their streams fail.
func (l *Log) isolate(
	ctx context.Context, reader Reader, tx pgx.Tx, events []domain.Recorded, out chan<- *message.Message,
) ([]domain.Failure, error) {
	return domain.Isolation{
		Attempt:   func(events []domain.Recorded) error { return l.attempt(ctx, tx, events, out) },
		OfContent: func(err error) bool { return ofContent(reader, err) },
	}.Handle(events)
}

// attempt passes events to the handler in a savepoint.
func (l *Log) attempt(ctx context.Context, tx pgx.Tx, events []domain.Recorded, out chan<- *message.Message) error {
	savepoint, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	if err := l.give(ctx, events, savepoint, out); err != nil {
		return errors.Join(err, savepoint.Rollback(context.WithoutCancel(ctx)))
	}
	return savepoint.Commit(ctx)
}

// release handles a page of the events that were left out of the first stream for which an operator has
// requested a retry or a skip.
func (l *Log) release(ctx context.Context, reader Reader, out chan<- *message.Message) error {
	requested := reader.Requested()
	if len(requested) == 0 {
		return nil
	}
	parked := requested[0]
	left, err := reader.LeftOutEvents(ctx, parked, pageSize)
	if err != nil {
		return err
	}
	tx, err := reader.Begin(ctx)
	if err != nil {
		return err
	}
	first, failed := domain.Readable(left.Events, func(domain.Recorded) bool { return false })
	more, err := l.isolate(ctx, reader, tx, first, out)
	if err != nil {
		return errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
	}
	ctx = context.WithoutCancel(ctx)
	for _, f := range append(failed, more...) { // more has the earlier event of a stream, so it is parked last
		if err := reader.Park(ctx, tx, f.Event, f.Cause, 1); err != nil {
			return errors.Join(err, tx.Rollback(ctx))
		}
		l.log.Error("stream still parked; see `chatledger parked`", "stream", f.Event.Stream, "version", f.Event.Version,
			"event", reader.EventName(f.Event), "error", f.Cause)
	}
	if err := reader.Release(ctx, tx, parked, left); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	if parked.Request == commands.ParkedSkip {
		l.log.Warn("event skipped for an operator", "stream", parked.Stream, "version", parked.Version, "event", parked.Event)
	}
	if parked.Stream.IsAllChats() && left.Last {
		l.log.Info("the chats of a bot are no longer held", "bot", parked.Stream.Bot())
		delete(l.logged, parked.Stream.Bot())
	}
	if len(first) > 0 {
		l.observe(l.group, first, 0)
	}
	return nil
}

// ofContent reports whether the content of the events made the handler fail.
func ofContent(reader Reader, err error) bool {
	var failed handlerError
	return errors.As(err, &failed) && reader.OfContent(failed.cause)
}

// named adds to an error the events that were handled.
func named(page []domain.Recorded, err error) error {
	first, last := page[0], page[len(page)-1]
	return fmt.Errorf("%d events, %s version %d to %s version %d: %w",
		len(page), first.Stream, first.Version, last.Stream, last.Version, err)
}

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
	// pageTries is how often a page that fails because of its content is tried: twice as a
	// whole, then stream by stream, where what fails is parked.
	pageTries = 3
	// tryPause is the pause before the second try; it doubles. The other streams of the group
	// wait for both, well below the second that a group may lag.
	tryPause = 50 * time.Millisecond
)

// handlerError is an error of the handler, not of the transaction around it.
type handlerError struct{ cause error }

func (e handlerError) Error() string { return e.cause.Error() }

func (e handlerError) Unwrap() error { return e.cause }

// handle gives a page to the handler and moves the checkpoint behind it. When the handler fails
// because of the content, the streams that fail are parked and the others are handled.
func (l *Log) handle(ctx context.Context, reader Reader, page []domain.Recorded, out chan<- *message.Message) error {
	events, unreadable := domain.Readable(page, reader.LeftOut)
	var failed error
	for try := 1; try < pageTries; try++ {
		err := l.commit(ctx, reader, page, unreadable, func(tx pgx.Tx) ([]domain.Failure, error) {
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
	return l.commit(ctx, reader, page, unreadable, func(tx pgx.Tx) ([]domain.Failure, error) {
		return l.isolate(ctx, reader, tx, events, out)
	})
}

// commit lets apply handle events of a page in a transaction, which then parks the streams that
// failed and moves the checkpoint behind the page.
func (l *Log) commit(
	ctx context.Context, reader Reader, page []domain.Recorded, failed []domain.Failure, apply func(pgx.Tx) ([]domain.Failure, error),
) error {
	tx, err := reader.Begin(ctx)
	if err != nil {
		return err
	}
	more, err := apply(tx)
	if err != nil {
		return errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
	}
	// The work is done: it is committed even when the program is asked to stop now.
	ctx = context.WithoutCancel(ctx)
	if err := l.park(ctx, reader, tx, slices.Concat(failed, more)); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	return reader.Advance(ctx, tx, page)
}

func (l *Log) park(ctx context.Context, reader Reader, tx pgx.Tx, failed []domain.Failure) error {
	for _, f := range failed {
		tries := pageTries
		if f.Event.Unreadable != nil {
			tries = 1 // it does not become readable by trying
		}
		if err := reader.Park(ctx, tx, f.Event, f.Cause, tries); err != nil {
			return err
		}
		l.log.Error("stream parked; see `chatledger parked`", "stream", f.Event.Stream, "version", f.Event.Version,
			"event", reader.EventName(f.Event), "error", f.Cause)
	}
	return nil
}

// give hands events to the handler and waits for its answer.
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

// isolate handles what can be handled of these events, and returns those at which their streams fail.
func (l *Log) isolate(
	ctx context.Context, reader Reader, tx pgx.Tx, events []domain.Recorded, out chan<- *message.Message,
) ([]domain.Failure, error) {
	return domain.Isolation{
		Attempt:   func(events []domain.Recorded) error { return l.attempt(ctx, tx, events, out) },
		OfContent: func(err error) bool { return ofContent(reader, err) },
	}.Handle(events)
}

// attempt gives events to the handler in a savepoint.
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

// release handles a page of the events that were left out of the first stream that an operator
// wants retried or skipped.
func (l *Log) release(ctx context.Context, reader Reader, out chan<- *message.Message) error {
	requested := reader.Requested()
	if len(requested) == 0 {
		return nil
	}
	parked := requested[0]
	events, err := reader.LeftOutEvents(ctx, parked, pageSize)
	if err != nil {
		return err
	}
	tx, err := reader.Begin(ctx)
	if err != nil {
		return err
	}
	first, failed := domain.Readable(events, func(domain.Recorded) bool { return false })
	if more, err := l.isolate(ctx, reader, tx, first, out); err != nil {
		return errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
	} else if len(more) > 0 {
		failed = more // it comes before one that is unreadable
	}
	ctx = context.WithoutCancel(ctx)
	for _, f := range failed {
		if err := reader.Park(ctx, tx, f.Event, f.Cause, 1); err != nil {
			return errors.Join(err, tx.Rollback(ctx))
		}
		l.log.Error("stream still parked; see `chatledger parked`", "stream", f.Event.Stream, "version", f.Event.Version,
			"event", reader.EventName(f.Event), "error", f.Cause)
	}
	if err := reader.Release(ctx, tx, parked, first, len(events) < pageSize); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	if parked.Request == commands.ParkedSkip {
		l.log.Warn("event skipped for an operator", "stream", parked.Stream, "version", parked.Version, "event", parked.Event)
	}
	if len(first) > 0 {
		l.observe(l.group, first, 0)
	}
	return nil
}

// ofContent reports whether the handler failed because of what the events contain.
func ofContent(reader Reader, err error) bool {
	var failed handlerError
	return errors.As(err, &failed) && reader.OfContent(failed.cause)
}

// named adds to an error which events were being handled.
func named(page []domain.Recorded, err error) error {
	first, last := page[0], page[len(page)-1]
	return fmt.Errorf("%d events, %s version %d to %s version %d: %w",
		len(page), first.Stream, first.Version, last.Stream, last.Version, err)
}

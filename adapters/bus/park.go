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

// failure is an event that the group cannot handle.
type failure struct {
	event domain.Recorded
	cause error
}

// handle gives a page to the handler and moves the checkpoint behind it. When the handler fails
// because of the content, the streams that fail are parked and the others are handled.
func (l *Log) handle(ctx context.Context, reader Reader, page []domain.Recorded, out chan<- *message.Message) error {
	events, unreadable := readable(page, reader.LeftOut)
	var failed error
	for try := 1; try < pageTries; try++ {
		err := l.commit(ctx, reader, page, unreadable, func(tx pgx.Tx) ([]failure, error) {
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
	return l.commit(ctx, reader, page, unreadable, func(tx pgx.Tx) ([]failure, error) {
		return l.isolate(ctx, reader, tx, events, out)
	})
}

// readable returns the events of a page that are to be handled, and the first event of each stream
// that cannot be decoded. What follows it in its stream is left out.
func readable(page []domain.Recorded, leftOut func(domain.Recorded) bool) (events []domain.Recorded, failed []failure) {
	withheld := func(r domain.Recorded) bool { return r.Unreadable != nil || leftOut(r) }
	if !slices.ContainsFunc(page, withheld) { // as almost always
		return page, nil
	}
	stopped := map[domain.StreamID]bool{}
	for _, r := range page {
		switch {
		case leftOut(r) || stopped[r.Stream]:
		case r.Unreadable != nil:
			stopped[r.Stream] = true
			failed = append(failed, failure{r, r.Unreadable})
		default:
			events = append(events, r)
		}
	}
	return events, failed
}

// commit lets apply handle events of a page in a transaction, which then parks the streams that
// failed and moves the checkpoint behind the page.
func (l *Log) commit(
	ctx context.Context, reader Reader, page []domain.Recorded, failed []failure, apply func(pgx.Tx) ([]failure, error),
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

func (l *Log) park(ctx context.Context, reader Reader, tx pgx.Tx, failed []failure) error {
	for _, f := range failed {
		tries := pageTries
		if f.event.Unreadable != nil {
			tries = 1 // it does not become readable by trying
		}
		if err := reader.Park(ctx, tx, f.event, f.cause, tries); err != nil {
			return err
		}
		l.log.Error("stream parked; see `chatledger parked`", "stream", f.event.Stream, "version", f.event.Version,
			"event", reader.EventName(f.event), "error", f.cause)
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

// isolate handles what can be handled of these events. What fails is halved by streams, down to
// the stream, and of that the events before the one that fails are handled. Each part has its
// savepoint, so streams that fail only together with others are found, too.
func (l *Log) isolate(
	ctx context.Context, reader Reader, tx pgx.Tx, events []domain.Recorded, out chan<- *message.Message,
) ([]failure, error) {
	err := l.attempt(ctx, tx, events, out)
	if err == nil || !ofContent(reader, err) {
		return nil, err
	}
	streams := streamsOf(events)
	if len(streams) == 1 {
		return l.isolateEvent(ctx, reader, tx, events, out)
	}
	half := map[domain.StreamID]bool{}
	for _, s := range streams[:len(streams)/2] {
		half[s] = true
	}
	first, second := partition(events, half)
	failed, err := l.isolate(ctx, reader, tx, first, out)
	if err != nil {
		return nil, err
	}
	more, err := l.isolate(ctx, reader, tx, second, out)
	return append(failed, more...), err
}

// isolateEvent finds by bisection an event of one stream that fails after those before it were
// handled, and leaves these handled.
func (l *Log) isolateEvent(
	ctx context.Context, reader Reader, tx pgx.Tx, events []domain.Recorded, out chan<- *message.Message,
) ([]failure, error) {
	handled, fails := 0, len(events) // events[:handled] are, events[:fails] cannot be
	for fails-handled > 1 {
		middle := (handled + fails) / 2
		err := l.attempt(ctx, tx, events[handled:middle], out)
		switch {
		case err == nil:
			handled = middle
		case ofContent(reader, err):
			fails = middle
		default:
			return nil, err
		}
	}
	// The error so far may be that of a longer part; the event alone says it best.
	err := l.attempt(ctx, tx, events[handled:fails], out)
	switch {
	case err == nil:
		// It failed with others and not alone.
		return l.isolate(ctx, reader, tx, events[fails:], out)
	case !ofContent(reader, err):
		return nil, err
	}
	return []failure{{events[handled], err}}, nil
}

// attempt gives events to the handler in a savepoint.
func (l *Log) attempt(ctx context.Context, tx pgx.Tx, events []domain.Recorded, out chan<- *message.Message) error {
	if len(events) == 0 {
		return nil
	}
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
	first, failed := readable(events, func(domain.Recorded) bool { return false })
	if more, err := l.isolate(ctx, reader, tx, first, out); err != nil {
		return errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
	} else if len(more) > 0 {
		failed = more // it comes before one that is unreadable
	}
	ctx = context.WithoutCancel(ctx)
	for _, f := range failed {
		if err := reader.Park(ctx, tx, f.event, f.cause, 1); err != nil {
			return errors.Join(err, tx.Rollback(ctx))
		}
		l.log.Error("stream still parked; see `chatledger parked`", "stream", f.event.Stream, "version", f.event.Version,
			"event", reader.EventName(f.event), "error", f.cause)
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

func streamsOf(events []domain.Recorded) (streams []domain.StreamID) {
	seen := map[domain.StreamID]bool{}
	for _, r := range events {
		if !seen[r.Stream] {
			seen[r.Stream] = true
			streams = append(streams, r.Stream)
		}
	}
	return streams
}

// partition splits events by their streams, and keeps their order.
func partition(events []domain.Recorded, of map[domain.StreamID]bool) (in, rest []domain.Recorded) {
	for _, r := range events {
		if of[r.Stream] {
			in = append(in, r)
		} else {
			rest = append(rest, r)
		}
	}
	return in, rest
}

package rebuild

import (
	"context"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
)

// Stopped is a stream with an event that cannot be folded into a table. Nothing of the stream is
// folded from that event on.
type Stopped struct {
	Stream   domain.StreamID
	Version  domain.Version
	Position domain.Position
	Event    string // the stored name of the event
	Reason   string
	Parked   bool // the table's consumer group left the stream out, too
}

func (s Stopped) String() string {
	return fmt.Sprintf("%s is folded up to version %d only: %s, version %d, cannot be folded: %s",
		s.Stream, s.Version-1, s.Event, s.Version, s.Reason)
}

// stoppedFew is how many stopped streams a verification names: more would not be read.
const stoppedFew = comparedFew

func stoppedAt(ledger Ledger, f domain.Failure) Stopped {
	name := ""
	if f.Event.Unreadable != nil {
		name = f.Event.Unreadable.Name
	} else {
		name = ledger.Name(f.Event.Event)
	}
	return Stopped{
		Stream: f.Event.Stream, Version: f.Event.Version, Position: f.Event.Position, Event: name,
		Reason: f.Cause.Error(),
	}
}

// applyReadable folds a page into the new table. A stream with an event that cannot be folded is left
// out from that event on, as the live table's consumer group parks it.
func (b *rebuild) applyReadable(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	events, failed := domain.Readable(page, func(r domain.Recorded) bool {
		s, left := b.done.parked[r.Stream]
		return left && r.Version >= s.Version
	})
	more, err := domain.Isolation{
		Attempt: func(events []domain.Recorded) error {
			return pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error { return b.p.Apply(ctx, savepoint, events) })
		},
		OfContent: b.ledger.OfContent,
	}.Handle(events)
	if err != nil {
		return err
	}
	for _, f := range append(failed, more...) {
		b.done.parked = maps.Clone(b.done.parked) // a failed transaction restores the previous map
		if b.done.parked == nil {
			b.done.parked = map[domain.StreamID]Stopped{}
		}
		b.done.parked[f.Event.Stream] = stoppedAt(b.ledger, f)
	}
	if len(b.done.parked) > domain.MaxParked {
		return fmt.Errorf("%d streams cannot be folded: the program is at fault, not the content: %w",
			len(b.done.parked), failedFirst(failed, more))
	}
	return nil
}

func failedFirst(lists ...[]domain.Failure) error {
	for _, list := range lists {
		for _, f := range list {
			return fmt.Errorf("%s version %d: %w", f.Event.Stream, f.Event.Version, f.Cause)
		}
	}
	return nil
}

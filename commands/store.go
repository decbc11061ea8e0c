// Package commands holds the use cases. A command is handled by loading its chat, deciding,
// and appending the decided events. Policies turn events into the next command or into a
// delivery to another system.
package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
)

// Store keeps streams. It is safe for concurrent use.
type Store interface {
	// Load reads the events after each cursor, oldest first, in the order of the
	// cursors. A stream that does not exist has none. Of a bot's own stream it reads the
	// version alone, without events.
	Load(context.Context, []Cursor) ([]History, error)

	// Append commits a batch in one transaction, at most one Append per stream.
	// The first result has one error per Append: nil when it is durable,
	// ErrConflict, Repeated or Fenced when it alone was left out. The second is
	// of the whole batch: nothing of it may be relied upon, nor its absence.
	Append(context.Context, []Append) ([]error, error)

	// Holds tells whether the stream has received an update with this key.
	HasUpdate(ctx context.Context, stream domain.StreamID, key uint64) (bool, error)

	// Acted finds what an operator did in the stream under a key: its print, nil when they
	// did nothing under it.
	FindOperatorAct(ctx context.Context, stream domain.StreamID, operator, key string) (print *uint64, err error)

	// Incarnation changes when the store may have another history than before, as after a
	// failover that lost the last commits: what was loaded earlier must be loaded anew, and an
	// append that was decided on it is a conflict, even at the version that the stream has.
	Incarnation() int64

	// SaveSnapshot keeps the state of a stream for later loads, unless a newer one is kept.
	SaveSnapshot(ctx context.Context, stream domain.StreamID, s Snapshot) error
}

// Snapshot is the encoded state of a stream at a version. Format names the rules by which it
// was made; it is of no use to a program with another format.
type Snapshot struct {
	Version     domain.Version
	Format      string
	State       []byte
	Incarnation int64 // of the store that the state was folded from; it is saved to no other
}

// Cursor is a place in a stream: events after it are wanted.
type Cursor struct {
	Stream domain.StreamID
	After  domain.Version
	Limit  int    // of events to read; 0 is no limit
	Format string // of a newer snapshot that may stand in for events; "" wants none
}

// History is a run of a stream's events; Version is that of the last one, or
// the cursor's when there are none. Err says why this stream, and only this one,
// cannot be read.
type History struct {
	Events  []domain.Event
	Version domain.Version
	More    bool      // the limit was reached, and there may be more events
	From    *Snapshot // what stands in for the events before; nil when nothing does
	Err     error
}

// Append adds events to one stream at the expected version, together with the
// inputs they consume: updates are consumed once, attempts once by who holds the lease.
type Append struct {
	Stream      domain.StreamID
	Incarnation int64 // of the store that the state was loaded from
	Expected    domain.Version
	Events      []NewEvent
	Updates     []ConsumedUpdate
	Settled     []Settlement

	// Wake is when time brings something about in this stream from now on (see
	// chat.Wake), zero for never; nil leaves it as it is.
	Wake *time.Time
}

// NewEvent is an event on its way into the store.
type NewEvent struct {
	ID          uuid.UUID
	Event       domain.Event
	Raw         []byte // the update as received, on the event that received it
	Causation   uuid.UUID
	Correlation uuid.UUID
	Actor       domain.Actor
	Trace       string // W3C traceparent; "" when it is not sampled
	OccurredAt  time.Time
}

// ConsumedUpdate marks an update as received by the event at Version.
type ConsumedUpdate struct {
	Bot     string
	ID      int64
	Version domain.Version
}

// Settlement ends an attempt at a delivery, or is what an operator decides about
// one that is not under way. It is fenced off unless the delivery is as it was seen.
type Settlement struct {
	Delivery  uuid.UUID
	Was       domain.DeliveryState // "" is sending
	Fence     int64                // number of the lease
	State     domain.DeliveryState // done, refused, unknown or dead; an operator's is waiting or skipped
	BlocksKey bool                 // later deliveries of its key wait until an operator decides about it: a dead letter
	Unsure    bool                 // the attempt may have arrived
	Outcome   []byte               // JSON of the other system's answer; may be nil
	Reason    string
}

// ErrConflict says that the stream has moved on since the expected version.
var ErrConflict = errors.New("conflict: the stream has a newer version than expected")

// Repeated says that these updates were received before.
type Repeated []int64

func (r Repeated) Error() string { return fmt.Sprintf("updates %v were received before", []int64(r)) }

// Fenced says that the caller may no longer settle these deliveries: their lease has expired and
// another worker holds it, or they are settled already.
type Fenced []uuid.UUID

func (f Fenced) Error() string {
	return fmt.Sprintf("deliveries %v are leased to another", []uuid.UUID(f))
}

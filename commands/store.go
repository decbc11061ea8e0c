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
	// cursors. A stream that does not exist has no events. For a bot's own stream, Load reads
	// only the version.
	Load(context.Context, []Cursor) ([]History, error)

	// Append commits a batch in one transaction, at most one Append per stream.
	// The first result has one error per Append: nil when it is durable,
	// ErrConflict, Repeated or Fenced when only this Append was left out. The second
	// result is an error of the whole batch: it is then unknown whether the batch is stored.
	Append(context.Context, []Append) ([]error, error)

	// HasUpdate reports whether the stream has received an update with this key.
	HasUpdate(ctx context.Context, stream domain.StreamID, key uint64) (bool, error)

	// FindOperatorAct returns the fingerprint of the operator's act with this idempotency key
	// in the stream, or nil if there is no such act.
	FindOperatorAct(ctx context.Context, stream domain.StreamID, operator, key string) (print *uint64, err error)

	// Incarnation changes when the store may have another history than before, for example after
	// a failover that lost the last commits. States of an earlier incarnation must be loaded anew.
	// An append that was decided on one is a conflict, even at the version that the stream has.
	Incarnation() int64

	// SaveSnapshot stores the state of a stream for later loads, unless a newer one is stored.
	SaveSnapshot(ctx context.Context, stream domain.StreamID, s Snapshot) error
}

// Snapshot is the encoded state of a stream at a version. Format identifies the encoding;
// a program with another format ignores the snapshot.
type Snapshot struct {
	Version     domain.Version
	Format      string
	State       []byte
	Incarnation int64 // of the store that the state was folded from; no other stores it
}

// Cursor requests the events of a stream after a version.
type Cursor struct {
	Stream domain.StreamID
	After  domain.Version
	Limit  int    // of events to read; 0 is no limit
	Format string // of a newer snapshot to use instead of events; "" for events only
}

// History is a sequence of a stream's events. Version is the version of the last one, or
// the cursor's if there are none. Err is an error in reading this stream; it does not concern others.
type History struct {
	Events  []domain.Event
	Version domain.Version
	More    bool      // the limit was reached, and there may be more events
	From    *Snapshot // replaces the events before; nil if there is none
	Err     error
}

// Append adds events to one stream at the expected version, together with the
// inputs they consume. An update is consumed once, and an attempt once, under its lease.
type Append struct {
	Stream      domain.StreamID
	Incarnation int64 // of the store that the state was loaded from
	Expected    domain.Version
	Events      []NewEvent
	Updates     []ConsumedUpdate
	Settled     []Settlement

	// Wake is the time of the stream's timer (see chat.Wake); zero removes the timer, nil
	// does not change it.
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

// Settlement ends an attempt at a delivery, or records an operator's decision about a delivery
// without an attempt in progress. It fails with Fenced if the delivery has changed meanwhile.
type Settlement struct {
	Delivery  uuid.UUID
	Was       domain.DeliveryState // the state before; "" for sending
	Fence     int64                // number of the lease
	State     domain.DeliveryState // done, refused, unknown or dead; an operator's is waiting or skipped
	BlocksKey bool                 // later deliveries of its key wait until an operator decides about it: a dead letter
	Unsure    bool                 // the attempt may have arrived
	Outcome   []byte               // JSON of the other system's answer; may be nil
	Reason    string
}

// ErrConflict means that the stream has a newer version than expected.
var ErrConflict = errors.New("conflict: the stream has a newer version than expected")

// Repeated means that these updates were received before.
type Repeated []int64

func (r Repeated) Error() string { return fmt.Sprintf("updates %v were received before", []int64(r)) }

// Fenced says that the caller may no longer settle these deliveries: their lease has expired and
// another worker holds it, or they are settled already.
type Fenced []uuid.UUID

func (f Fenced) Error() string {
	return fmt.Sprintf("deliveries %v are leased to another", []uuid.UUID(f))
}

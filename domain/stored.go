package domain

import (
	"time"

	"github.com/google/uuid"
)

// Stored is an event as its row holds it. It is not decoded, so that a program can
// carry events that it does not know.
type Stored struct {
	Position     Position
	Stream       StreamID
	Version      Version
	ID           uuid.UUID
	Name         string
	EventVersion int
	Payload      []byte    // JSON
	Raw          []byte    // JSON; nil when there is none
	Causation    uuid.UUID // uuid.Nil when it came from outside
	Correlation  uuid.UUID
	Actor        Actor
	Trace        string    // W3C traceparent of the request that decided it; "" when it is not sampled
	OccurredAt   time.Time // UTC, in microseconds, as is RecordedAt
	RecordedAt   time.Time
}

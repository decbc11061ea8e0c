package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/domain"
)

// Selection selects the deliveries that match all of its fields. The zero Selection selects all.
type Selection struct {
	IDs         []uuid.UUID
	Stream      domain.StreamID
	Destination string
	States      []domain.DeliveryState
	Reason      string // a part of the reason; upper and lower case are the same
	DeadLetters bool   // only dead letters: an operator must decide about them
	Behind      bool   // with DeadLetters: also the deliveries that wait behind them
	Unknown     bool   // with DeadLetters: also finished deliveries with an unknown outcome
}

// Entry is a delivery with all that the outbox stores of it.
type Entry struct {
	ID          uuid.UUID            `json:"id"`
	Stream      domain.StreamID      `json:"stream"`
	Version     domain.Version       `json:"version"`
	Kind        domain.DeliveryKind  `json:"kind"`
	Destination string               `json:"destination"`
	OrderingKey string               `json:"ordering_key"`
	Payload     json.RawMessage      `json:"payload"`
	State       domain.DeliveryState `json:"state"`
	Attempts    int                  `json:"attempts"`
	Unsure      int                  `json:"unsure"`
	NextAttempt time.Time            `json:"next_attempt"`
	Fence       int64                `json:"fence"`
	Outcome     json.RawMessage      `json:"outcome"`
	Reason      string               `json:"reason"`
	Correlation uuid.UUID            `json:"correlation"`
	CreatedAt   time.Time            `json:"created_at"`
	RetriedAt   *time.Time           `json:"retried_at"`
	FinishedAt  *time.Time           `json:"finished_at"`
	Behind      *uuid.UUID           `json:"behind"` // the first delivery of its ordering key, if this one waits for it
}

// DeadLetter reports whether the delivery is a dead letter: its ordering key waits until an
// operator decides.
func (e Entry) DeadLetter() bool {
	return e.FinishedAt == nil && (e.State == domain.DeliveryDead || e.State == domain.DeliveryUnknown)
}

// listed selects dead letters and unknown outcomes: it is the condition of the index
// deliveries_dead. deadLetters selects the dead letters.
const (
	listed      = `state in ('dead', 'unknown')`
	deadLetters = listed + ` and finished_at is null`
)

// selectionPage is how many deliveries are read from the ledger at once.
const selectionPage = 500

// Deliveries reads the deliveries of a selection in the order of their ids, page by page. After an
// error it ends.
func (s *Store) Deliveries(ctx context.Context, which Selection) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for after, more := uuid.Nil, true; more; {
			page, err := s.entries(ctx, which, after, selectionPage)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				after = e.ID
			}
			more = len(page) == selectionPage
		}
	}
}

// entries reads the page of a selection after an id. Ids are ordered by time.
func (s *Store) entries(ctx context.Context, which Selection, after uuid.UUID, limit int) ([]Entry, error) {
	where, args := []string{`d.delivery_id > $1`}, []any{after, limit}
	// The statement has only the conditions of the selection: a general one would scan the whole table.
	only := func(condition string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if len(which.IDs) > 0 {
		only(`d.delivery_id = any($%d)`, which.IDs)
	}
	if which.Stream != "" {
		only(`d.stream_id = $%d`, string(which.Stream))
	}
	if which.Destination != "" {
		only(`d.destination = $%d`, which.Destination)
	}
	if len(which.States) > 0 {
		only(`d.state = any($%d)`, which.States)
	}
	if which.Reason != "" {
		only(`strpos(lower(d.reason), lower($%d)) > 0`, which.Reason)
	}
	if which.DeadLetters {
		letters := deadLetters
		if which.Unknown {
			letters = listed
		}
		if which.Behind {
			// The ids are collected first: with "or", the server would scan the whole table.
			where = append(where, `d.delivery_id = any(array(
				select delivery_id from eventstore.deliveries where `+letters+`
				union
				select b.delivery_id from eventstore.deliveries b
				where b.finished_at is null and b.ordering_key in (
					select ordering_key from eventstore.deliveries where `+deadLetters+`)))`)
		} else {
			where = append(where, `d.`+letters)
		}
	}
	return postgres.Collect(ctx, s.db.Pool(), "read deliveries", entry, `
		select d.delivery_id, d.stream_id, d.version, d.kind, d.destination, d.ordering_key, d.payload, d.state,
			d.attempts, d.unsure, d.next_attempt, d.fence, d.outcome, coalesce(d.reason, ''), d.correlation_id,
			d.created_at, d.retried_at, d.finished_at,
			(select ahead.delivery_id from eventstore.deliveries ahead
			 where d.state = 'waiting' and ahead.ordering_key = d.ordering_key
			   and ahead.seq < d.seq and ahead.finished_at is null
			 order by ahead.seq limit 1)
		from eventstore.deliveries d
		where `+strings.Join(where, ` and `)+`
		order by d.delivery_id
		limit $2`, args...)
}

func entry(row pgx.CollectableRow) (e Entry, err error) {
	var payload []byte
	err = row.Scan(&e.ID, &e.Stream, &e.Version, &e.Kind, &e.Destination, &e.OrderingKey, &payload, &e.State,
		&e.Attempts, &e.Unsure, &e.NextAttempt, &e.Fence, &e.Outcome, &e.Reason, &e.Correlation,
		&e.CreatedAt, &e.RetriedAt, &e.FinishedAt, &e.Behind)
	if err == nil {
		e.Payload, err = postgres.Unescape(payload)
	}
	return e, err
}

// DeliveryStates returns the states of deliveries by id. Deliveries that do not exist are left
// out.
func (s *Store) DeliveryStates(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]domain.DeliveryState, error) {
	rows, err := s.db.Pool().Query(ctx,
		`select delivery_id, state from eventstore.deliveries where delivery_id = any($1)`, ids)
	if err != nil {
		return nil, fmt.Errorf("read %d deliveries: %w", len(ids), err)
	}
	states := map[uuid.UUID]domain.DeliveryState{}
	var id uuid.UUID
	var state domain.DeliveryState
	_, err = pgx.ForEachRow(rows, []any{&id, &state}, func() error {
		states[id] = state
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %d deliveries: %w", len(ids), err)
	}
	return states, nil
}

// Package projections folds the feed into tables that people query. A table is
// never the truth: it can be rebuilt from the events at any time, and verified
// against them row by row. Nothing in here can send anything.
package projections

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
)

// A Projection keeps one read-model table. Its statements name the table without
// a schema: the session's search path says whether that is the live one, in
// readmodel, or one that is being rebuilt beside it.
type Projection interface {
	// Name is the consumer group and the name of the table in schema readmodel.
	Name() string
	// Apply folds a page of events, in feed order, into the table.
	Apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error
	// Concerned lists the event types that change the table, by their zero values;
	// none is all.
	Concerned() []domain.Event
	// Fold gives the rows that one stream's whole history leads to, by key, as
	// the table's columns in JSON; what Apply must have led to as well.
	Fold(history []domain.Recorded) (map[string]any, error)
	// Rows reads the table's rows of these streams, by key, in the same form.
	Rows(ctx context.Context, tx pgx.Tx, streams []string) (map[string]any, error)
}

// All is every projection there is.
func All() []Projection { return []Projection{Conversations{}, Tickets{}} }

// Named finds a projection.
func Named(name string) (Projection, error) {
	names := ""
	for _, p := range All() {
		if p.Name() == name {
			return p, nil
		}
		names += " " + p.Name()
	}
	return nil, fmt.Errorf("there is no projection %q: choose one of%s", name, names)
}

// place is where in the ledger a row was last changed.
type place struct {
	Version  int64
	Position domain.Position
}

func placeOf(r domain.Recorded) place { return place{int64(r.Version), r.Position} }

// GapError says that a projection was given an event that does not follow the
// one before it. It means that the feed skipped or repeated something.
type GapError struct {
	Table  string
	Stream domain.StreamID
	Has    int64
	Next   domain.Version
}

func (e GapError) Error() string {
	return fmt.Sprintf("%s: %s stands at version %d and the next event is version %d: the feed skipped or repeated an event; run `chatledger rebuild %s`",
		e.Table, e.Stream, e.Has, e.Next, e.Table)
}

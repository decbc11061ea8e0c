// Package projections folds the feed into tables that analysts query. A table
// can be rebuilt from the events at any time, and verified against them row by row. Nothing
// in this package can send anything.
package projections

import (
	"context"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// A Projection keeps one read-model table. Its statements name the table without
// a schema: the session's search path says whether that is the live one, in
// readmodel, or one that is being rebuilt beside it.
type Projection interface {
	// Name is the consumer group and the name of the table in schema readmodel. The
	// table has a column stream_id, and a primary key of one text column.
	Name() string
	// Version is raised whenever the same events lead to other rows than before: the
	// table is then built anew. Columns come and go by migration, so that the code of
	// the version before goes on working meanwhile.
	Version() int
	// Apply folds a page of events, in feed order, into the table.
	Apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error
	// Concerned lists the event types that change the table, by their zero values;
	// none is all.
	Concerned() []domain.Event
	// Start begins to fold one stream's history in memory. Apply must have led to the
	// same rows.
	Start() Folding
	// Rows reads the table's rows of these streams, by key.
	Rows(ctx context.Context, tx pgx.Tx, streams []string) (map[string]Row, error)
}

// A Folding is one stream's rows while its history is folded, event by event.
type Folding interface {
	Take(domain.Recorded) error
	Rows() map[string]Row
}

// Fold gives the rows that one stream's whole history leads to, by key.
func Fold(p Projection, history []domain.Recorded) (map[string]Row, error) {
	f := p.Start()
	for _, r := range history {
		if err := f.Take(r); err != nil {
			return nil, err
		}
	}
	return f.Rows(), nil
}

// All lists all projections.
func All() []Projection { return []Projection{Conversations{}, Tickets{}, Messages{}, ChatDays{}} }

// codec declares which events each table folds.
var codec = chat.NewCodec()

func typesOf(events []domain.Event) map[reflect.Type]bool {
	types := make(map[reflect.Type]bool, len(events))
	for _, event := range events {
		types[reflect.TypeOf(event)] = true
	}
	return types
}

// Named finds a projection.
func Named(name string) (Projection, error) {
	names := ""
	for _, p := range All() {
		if p.Name() == name {
			return p, nil
		}
		names += " " + p.Name()
	}
	return nil, fmt.Errorf("projection %q does not exist: choose one of%s", name, names)
}

// A Row is a row of a table, column by column.
type Row []Column

// Column is a column's name and value, as the database can hold it: nil for null, and
// times as text, in UTC and whole microseconds.
type Column struct {
	Name  string
	Value any
}

// Text returns the row's value of a column that is never null.
func (row Row) Text(column string) string {
	for _, c := range row {
		if c.Name == column {
			return c.Value.(string)
		}
	}
	panic("the table has no column " + column)
}

// GapError reports that a projection was given an event that does not follow the
// previous one. It means that the feed skipped or repeated something.
type GapError struct {
	Table  string
	Stream domain.StreamID
	Has    int64
	Next   domain.Version
}

func (e GapError) Error() string {
	return fmt.Sprintf("%s: %s stands at version %d and the next event is version %d: the feed skipped or repeated "+
		"an event; run `chatledger rebuild %s`",
		e.Table, e.Stream, e.Has, e.Next, e.Table)
}

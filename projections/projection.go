// Package projections folds the feed into tables that analysts query. A table can be rebuilt from
// the events at any time, and verified against them row by row. Nothing in this package can send
// anything.
package projections

import (
	"context"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// A Projection maintains one read-model table. Its statements name the table without a schema: the
// session's search path selects the live table in readmodel, or the new table of a rebuild.
type Projection interface {
	// Name is the consumer group and the name of the table in schema readmodel. The
	// table has a column stream_id, and a primary key of one text column.
	Name() string
	// Version is raised whenever the same events lead to other rows than before: the table is then
	// rebuilt. Migrations add and drop columns, so that the code of the previous version keeps working
	// during a rebuild.
	Version() int
	// Apply folds a page of events, in feed order, into the table.
	Apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error
	// Concerned lists the zero values of the event types that change the table. An empty list means
	// all types.
	Concerned() []domain.Event
	// Start begins to fold the history of one stream in memory. The result must have the rows that
	// Apply writes for the same events.
	Start() Folding
	// Rows reads the rows of these streams from the table, by key.
	Rows(ctx context.Context, tx pgx.Tx, streams []string) (map[string]Row, error)
}

// A Folding has the rows of one stream while its history is folded, event by event.
type Folding interface {
	Take(domain.Recorded) error
	Rows() map[string]Row
}

// Fold returns the rows, by key, that the whole history of one stream leads to.
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

// Named returns the projection with this name.
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

// Column is a column's name and value in the precision of the database: nil for null, and times as
// text, in UTC and whole microseconds.
type Column struct {
	Name  string
	Value any
}

// Text returns the value of a text column that is never null.
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
	return fmt.Sprintf("%s: the row of %s is at version %d, and the next event is version %d: "+
		"the feed skipped or repeated an event; run `chatledger rebuild %s`",
		e.Table, e.Stream, e.Has, e.Next, e.Table)
}

package rebuild

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections"
)

// Divergence is a row that is not what the events lead to.
type Divergence struct {
	Table  string
	Key    string
	Stream domain.StreamID
	Detail string // what differs, column by column
	Cause  *Cause // nil if no event leads to the row

	got     projections.Row // nil if the row is missing
	columns []int           // the indexes of the columns that differ
	until   domain.Version  // the stream is parked from this version on; 0 if it is not parked
}

// Cause is the first event that explains a divergence. If the row is missing, or is what it was at an
// earlier event, the cause is the next event that changed it. Otherwise it is the event since which
// the columns that differ have the values that the whole history leads to.
type Cause struct {
	Position domain.Position
	Version  domain.Version
	Name     string // as stored
}

func (d Divergence) String() string {
	text := fmt.Sprintf("readmodel.%s %s (stream %s): %s", d.Table, d.Key, d.Stream, d.Detail)
	if d.Cause != nil {
		text += fmt.Sprintf("; first explained by %s, version %d at %v", d.Cause.Name, d.Cause.Version,
			d.Cause.Position)
	}
	return text
}

// divergences folds the histories of some streams up to a position, and returns the rows of the table
// that differ from the result, by stream and key, and the number of rows. A stream that the table's
// group parked is folded up to the parked event. The rows of another stream with an event that cannot
// be folded are not compared.
func divergences(
	ctx context.Context, tx pgx.Tx, ledger Ledger, p projections.Projection, at domain.Position,
	streams []domain.StreamID,
) (n int64, found []Divergence, stopped []Stopped, err error) {
	names := make([]string, len(streams))
	for i, s := range streams {
		names[i] = string(s)
	}
	rows, err := p.Rows(ctx, tx, names)
	if err != nil {
		return 0, nil, nil, err
	}
	parked := map[domain.StreamID]Stopped{}
	left, err := ledger.ParkedOf(ctx, tx, p.Name(), streams)
	if err != nil {
		return 0, nil, nil, err
	}
	for _, s := range left {
		parked[s.Stream] = s
	}
	stream, folding, stop := domain.StreamID(""), p.Start(), (*Stopped)(nil)
	compare := func() {
		want := folding.Rows()
		if stop != nil {
			stopped = append(stopped, *stop)
			if !stop.Parked {
				maps.DeleteFunc(rows, func(_ string, row projections.Row) bool {
					return row.Text("stream_id") == string(stream)
				})
				return
			}
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			d := Divergence{
				Table: p.Name(), Key: key, Stream: stream, got: rows[key], until: parked[stream].Version,
			}
			if d.differ(want[key]); d.Detail != "" {
				found = append(found, d)
			}
			delete(rows, key)
			n++
		}
	}
	err = ledger.Replay(ctx, tx, streams, at, func(r domain.Recorded) error {
		if r.Stream != stream {
			compare()
			stream, folding, stop = r.Stream, p.Start(), nil
		}
		if stop == nil {
			stop = take(ledger, folding, r, parked[stream])
		}
		return nil
	})
	if err != nil {
		return 0, nil, nil, err
	}
	compare()
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		n++
		found = append(found, Divergence{
			Table: p.Name(), Key: key, Stream: domain.StreamID(rows[key].Text("stream_id")),
			Detail: "the row exists and no event leads to it",
		})
	}
	return n, found, stopped, nil
}

// take folds an event. It returns a Stopped if the stream is parked from this event on, or if the event
// cannot be folded.
func take(ledger Ledger, folding projections.Folding, r domain.Recorded, parked Stopped) *Stopped {
	if parked.Parked && r.Version >= parked.Version {
		return &parked
	}
	if r.Unreadable != nil {
		return new(stoppedAt(ledger, domain.Failure{Event: r, Cause: r.Unreadable}))
	}
	if err := folding.Take(r); err != nil {
		return new(stoppedAt(ledger, domain.Failure{Event: r, Cause: err}))
	}
	return nil
}

// differ records the columns in which the row differs from what the events lead to.
func (d *Divergence) differ(want projections.Row) {
	var details []string
	for i, c := range want {
		switch {
		case d.got == nil:
			d.columns = append(d.columns, i)
		case !reflect.DeepEqual(d.got[i].Value, c.Value):
			d.columns = append(d.columns, i)
			details = append(details,
				fmt.Sprintf("%s is %s, the events lead to %s", c.Name, shown(d.got[i].Value), shown(c.Value)))
		}
	}
	if d.Detail = strings.Join(details, "; "); d.got == nil {
		d.Detail = "the row is missing"
	}
}

func shown(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case string:
		return fmt.Sprintf("%q", v)
	default:
		return fmt.Sprint(v)
	}
}

// explain finds the event at which the divergence begins, if the events lead to the row.
func (d *Divergence) explain(
	ctx context.Context, tx pgx.Tx, ledger Ledger, p projections.Projection, at domain.Position,
) error {
	var before projections.Row
	// next is the first change after the row was what it is in the table.
	var changed, next *domain.Recorded
	asItWas := d.got == nil
	folding, stop := p.Start(), (*Stopped)(nil)
	err := ledger.Replay(ctx, tx, []domain.StreamID{d.Stream}, at, func(r domain.Recorded) error {
		if stop == nil {
			stop = take(ledger, folding, r, Stopped{Version: d.until, Parked: d.until > 0})
		}
		if stop != nil {
			return nil
		}
		now := folding.Rows()[d.Key]
		if now == nil {
			return nil
		}
		if before == nil || slices.ContainsFunc(d.columns,
			func(i int) bool { return !reflect.DeepEqual(before[i], now[i]) }) {
			changed = &r
		}
		if asItWas && !reflect.DeepEqual(before, now) {
			asItWas, next = false, &r
		}
		if d.got != nil && reflect.DeepEqual(d.got, now) {
			asItWas, next = true, nil
		}
		before = now
		return nil
	})
	if cause := cmp.Or(next, changed); err == nil && cause != nil {
		d.Cause = &Cause{cause.Position, cause.Version, ledger.Name(cause.Event)}
	}
	return err
}

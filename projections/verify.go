package projections

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
)

// Ledger reads events for whoever folds them anew.
type Ledger interface {
	// Feed reads up to limit events after a position, in feed order; with only, those
	// of other types come without their Event.
	Feed(ctx context.Context, tx pgx.Tx, after domain.Position, limit int, only ...domain.Event) ([]domain.Recorded, error)
	// Streams lists up to limit streams after one, in order of their ids.
	Streams(ctx context.Context, tx pgx.Tx, after domain.StreamID, limit int) ([]domain.StreamID, error)
	// Histories reads all events of these streams up to a position, by stream, oldest first.
	Histories(ctx context.Context, tx pgx.Tx, streams []domain.StreamID, upTo domain.Position) (map[domain.StreamID][]domain.Recorded, error)
}

// Divergence is a row that is not what the events lead to.
type Divergence struct {
	Table  string
	Key    string
	Stream domain.StreamID
	Detail string // what differs, column by column
}

func (d Divergence) String() string {
	return fmt.Sprintf("readmodel.%s %s (stream %s): %s", d.Table, d.Key, d.Stream, d.Detail)
}

// Verified is what a verification looked at.
type Verified struct {
	Streams, Rows int64
	At            domain.Position // the checkpoint that rows and events were compared at
	First         *Divergence     // nil when all rows are what the events lead to
}

// verifyBatch is how many streams are folded at once: with some 50 events each,
// a few megabytes.
const verifyBatch = 500

// Verify folds every stream anew and compares the outcome with the table, both as
// of one moment, while reading and writing go on. It stops at the first row that
// differs.
func Verify(ctx context.Context, conn *pgx.Conn, ledger Ledger, p Projection) (Verified, error) {
	var v Verified
	// One snapshot for all of it; it takes no transaction id, so nobody waits.
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return v, fmt.Errorf("verify %s: %w", p.Name(), err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	// Locked before the snapshot is taken: a table that a rebuild puts in place
	// afterwards would look empty in it.
	table := pgx.Identifier{"readmodel", p.Name()}.Sanitize()
	if _, err := tx.Exec(ctx, `set local search_path = readmodel; lock table `+table+` in access share mode`); err != nil {
		return v, fmt.Errorf("verify %s: %w", p.Name(), err)
	}
	err = tx.QueryRow(ctx, `
		select coalesce(max(transaction_id::text::bigint), 0), coalesce(max(position), 0)
		from eventstore.checkpoints where consumer_group = $1`, p.Name()).Scan(&v.At.Transaction, &v.At.Number)
	if err != nil {
		return v, fmt.Errorf("verify %s: read checkpoint: %w", p.Name(), err)
	}
	var last domain.StreamID
	for {
		streams, err := ledger.Streams(ctx, tx, last, verifyBatch)
		if err != nil {
			return v, fmt.Errorf("verify %s: %w", p.Name(), err)
		}
		if len(streams) == 0 {
			break
		}
		last = streams[len(streams)-1]
		if err := v.compare(ctx, tx, ledger, p, streams); err != nil || v.First != nil {
			return v, err
		}
	}
	v.First, err = stranger(ctx, tx, p, table)
	if err != nil {
		return v, fmt.Errorf("verify %s: %w", p.Name(), err)
	}
	return v, nil
}

// stranger finds a row of a stream that does not exist, which comparing stream by
// stream does not come by.
func stranger(ctx context.Context, tx pgx.Tx, p Projection, table string) (*Divergence, error) {
	var stream string
	err := tx.QueryRow(ctx, `
		select t.stream_id from `+table+` t
		where not exists (select from eventstore.streams s where s.stream_id = t.stream_id)
		order by 1 limit 1`).Scan(&stream)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rows, err := p.Rows(ctx, tx, []string{stream})
	if err != nil {
		return nil, err
	}
	key := slices.Min(slices.Collect(maps.Keys(rows)))
	return extra(p, key, rows[key]), nil
}

// extra is the divergence of a row that no event leads to.
func extra(p Projection, key string, row any) *Divergence {
	stream := reflect.ValueOf(row).FieldByName("Stream").String()
	return &Divergence{p.Name(), key, domain.StreamID(stream), "the row is there and no event leads to it"}
}

// compare verifies the rows of some streams.
func (v *Verified) compare(ctx context.Context, tx pgx.Tx, ledger Ledger, p Projection, streams []domain.StreamID) error {
	histories, err := ledger.Histories(ctx, tx, streams, v.At)
	if err != nil {
		return fmt.Errorf("verify %s: %w", p.Name(), err)
	}
	names := make([]string, len(streams))
	for i, s := range streams {
		names[i] = string(s)
	}
	rows, err := p.Rows(ctx, tx, names)
	if err != nil {
		return fmt.Errorf("verify %s: %w", p.Name(), err)
	}
	v.Streams += int64(len(streams))
	for _, stream := range streams {
		if len(histories[stream]) == 0 {
			continue // the checkpoint has not come to it yet
		}
		want, err := p.Fold(histories[stream])
		if err != nil {
			return fmt.Errorf("verify %s: %w", p.Name(), err)
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			v.Rows++
			if detail := differ(rows[key], want[key]); detail != "" {
				v.First = &Divergence{p.Name(), key, stream, detail}
				return nil
			}
			delete(rows, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		v.First = extra(p, key, rows[key])
		break
	}
	return nil
}

// differ says in which fields a row is not what was folded; "" when in none.
func differ(got, want any) string {
	if got == nil {
		return "the row is missing"
	}
	var found []string
	a, b := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range a.NumField() {
		x, y := plain(a.Field(i)), plain(b.Field(i))
		if !reflect.DeepEqual(x, y) {
			found = append(found, fmt.Sprintf("%s is %v, the events lead to %v", a.Type().Field(i).Name, x, y))
		}
	}
	return strings.Join(found, "; ")
}

// plain is a field's value as the database can hold it: no pointer, and times of
// whole microseconds.
func plain(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	if !v.CanInterface() { // the embedded place
		return fmt.Sprint(v)
	}
	if t, ok := v.Interface().(time.Time); ok {
		return t.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
	}
	return v.Interface()
}

package rebuild

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
)

// Comparison reports how a rebuilt table differs from the live one, both at the same position of the
// feed.
type Comparison struct {
	At                       domain.Position
	Rows                     int64 // keys in either table
	OnlyOld, OnlyNew, Differ int64
	First                    []Divergence // the first few of each kind, by key
}

// Differences returns the number of rows that are not the same in both tables.
func (c Comparison) Differences() int64 { return c.OnlyOld + c.OnlyNew + c.Differ }

const (
	// comparedFew is how many rows of each kind of difference are explained: more would not be read.
	comparedFew = 10
	// comparedPage is how many rows are compared before progress is reported.
	comparedPage = 10_000
)

// compare folds exactly up to the live table's checkpoint, and compares the two there.
// The live table is read in a snapshot of the other session.
func (b *rebuild) compare(ctx context.Context) error {
	// Most events are folded before the snapshot is taken, so that it is held only for seconds.
	for folded := int64(rebuildPage); folded >= rebuildPage; {
		live, err := markOf(ctx, b.conn, b.p, b.p.Name(), "")
		if err != nil {
			return err
		}
		before := b.done.Events
		if err := b.bulk(ctx, live.At); err != nil {
			return err
		}
		folded = b.done.Events - before
	}
	return snapshot(ctx, b.side, b.p, func(tx pgx.Tx, live mark) error {
		if err := b.foldPages(ctx, func(pgx.Tx) (*domain.Position, error) { return &live.At, nil }); err != nil {
			return err
		}
		c := Comparison{At: live.At}
		differing, err := b.merge(ctx, tx, &c)
		if err != nil {
			return err
		}
		if c.First, err = b.explain(ctx, tx, live.At, differing); err != nil {
			return err
		}
		b.done.Comparison = &c
		return nil
	})
}

// cursor reads a table in the order of its keys, as hashes of its rows.
type cursor struct {
	pgx.Rows
	more   bool
	key    string
	stream domain.StreamID
	hash   int64
}

func openCursor(ctx context.Context, q interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}, table, key string) (*cursor, error) {
	// Keys are ordered byte by byte, as Go compares them. The key columns have this collation, so the
	// index returns this order.
	rows, err := q.Query(ctx,
		`select `+key+`, stream_id, hashtextextended(t::text, 0) from `+table+` t order by `+key+` collate "C"`)
	if err != nil {
		return nil, err
	}
	c := &cursor{Rows: rows}
	return c, c.next()
}

func (c *cursor) next() error {
	if c.more = c.Next(); c.more {
		return c.Scan(&c.key, &c.stream, &c.hash)
	}
	return c.Err()
}

// merge counts the differences, and returns the first few rows of each kind.
func (b *rebuild) merge(ctx context.Context, tx pgx.Tx, c *Comparison) (few []Divergence, err error) {
	var key string
	err = tx.QueryRow(ctx, `
		select quote_ident(a.attname) from pg_index i
		join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
		where i.indrelid = $1::text::regclass and i.indisprimary`, b.live).Scan(&key)
	if err != nil {
		return nil, fmt.Errorf("the table has no primary key: %w", err)
	}
	before, err := openCursor(ctx, tx, b.live, key)
	if err != nil {
		return nil, err
	}
	defer before.Close()
	after, err := openCursor(ctx, b.conn, b.shadow, key)
	if err != nil {
		return nil, err
	}
	defer after.Close()
	note := func(kind *int64, at *cursor) {
		if *kind++; *kind <= comparedFew {
			// explain replaces the detail, if it finds the cause.
			few = append(few, Divergence{
				Table: b.p.Name(), Key: at.key, Stream: at.stream,
				Detail: "it differs in columns that this program does not know",
			})
		}
	}
	for ; before.more || after.more; c.Rows++ {
		left, right := before.more, after.more // which of the two have the least key
		switch {
		case right && (!left || after.key < before.key):
			left = false
			note(&c.OnlyNew, after)
		case left && (!right || before.key < after.key):
			right = false
			note(&c.OnlyOld, before)
		case before.hash != after.hash:
			note(&c.Differ, before)
		}
		if left {
			err = before.next()
		}
		if right && err == nil {
			err = after.next()
		}
		if err != nil {
			return nil, err
		}
		if c.Rows%comparedPage == 0 && b.options.Progress != nil {
			b.options.Progress(Progress{Comparing: true, Done: c.Rows})
		}
	}
	return few, nil
}

// explain finds out how rows of the live table differ, and since which event.
func (b *rebuild) explain(ctx context.Context, tx pgx.Tx, at domain.Position, few []Divergence) ([]Divergence, error) {
	for i, d := range few {
		_, found, stopped, err := divergences(ctx, tx, b.ledger, b.p, at, []domain.StreamID{d.Stream})
		if err != nil {
			return nil, err
		}
		for _, s := range stopped {
			few[i].Detail = s.String()
		}
		for _, f := range found {
			if f.Key != d.Key {
				continue
			}
			if err := f.explain(ctx, tx, b.ledger, b.p, at); err != nil {
				return nil, err
			}
			few[i] = f
		}
	}
	return few, nil
}

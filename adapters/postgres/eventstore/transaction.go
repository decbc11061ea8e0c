package eventstore

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// lateTx is a transaction that begins with its first statement, so that a page for which nothing is
// written needs no round trip to the server.
type lateTx struct {
	pgx.Tx // nil before the first statement
	conn   *pgx.Conn
}

// session runs statements: a transaction or a connection.
type session interface {
	Begin(context.Context) (pgx.Tx, error)
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	Query(context.Context, string, ...any) (pgx.Rows, error)
	QueryRow(context.Context, string, ...any) pgx.Row
	SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
}

// begun returns the transaction. A connection that cannot begin one is closed, so that
// every later statement fails and nothing is written outside of a transaction.
func (t *lateTx) begun(ctx context.Context) session {
	if t.Tx == nil {
		tx, err := t.conn.Begin(ctx)
		if err != nil {
			_ = t.conn.Close(ctx)
			return t.conn
		}
		t.Tx = tx
	}
	return t.Tx
}

func (t *lateTx) Begin(ctx context.Context) (pgx.Tx, error) { return t.begun(ctx).Begin(ctx) }

func (t *lateTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return t.begun(ctx).Exec(ctx, sql, args...)
}

func (t *lateTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return t.begun(ctx).Query(ctx, sql, args...)
}

func (t *lateTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return t.begun(ctx).QueryRow(ctx, sql, args...)
}

func (t *lateTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return t.begun(ctx).SendBatch(ctx, b)
}

func (t *lateTx) Rollback(ctx context.Context) error {
	if t.Tx == nil {
		return nil
	}
	return t.Tx.Rollback(ctx)
}

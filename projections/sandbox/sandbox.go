// Package sandbox folds events that did not happen, such as those of a replay with other settings, into
// copies of the read-model tables in a schema of their own.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections"
)

// Sandbox is a schema with a copy of each read-model table. There is one at a time. If a process is
// killed, the next Open drops what it left.
type Sandbox struct {
	conn *pgx.Conn
	page []domain.Recorded
}

const (
	sandboxSchema = "readmodel_sandbox"
	// sandboxPage is how many events are folded in one transaction. It is open for tens of
	// milliseconds, so it does not hold the live consumers back.
	sandboxPage = 5000
)

// errTaken is returned while another process uses the sandbox.
var errTaken = errors.New("another process uses it; wait for that process, or end it")

// Open creates the schema, with empty tables. No other process can open the sandbox until the
// connection ends, and the connection cannot be used for anything else.
func Open(ctx context.Context, conn *pgx.Conn) (*Sandbox, error) {
	var alone bool
	if err := conn.QueryRow(ctx, `select eventstore.try_lock('sandbox')`).Scan(&alone); err != nil {
		return nil, fmt.Errorf("open the sandbox: %w", err)
	}
	if !alone {
		return nil, fmt.Errorf("open the sandbox: %w", errTaken)
	}
	sql := `
		set synchronous_commit = off; -- a crash may lose the sandbox until Keep
		drop schema if exists ` + sandboxSchema + ` cascade;
		create schema ` + sandboxSchema + `;
		comment on schema ` + sandboxSchema + ` is
			'What a replay decided, in tables like those of readmodel. Nothing of it happened; drop it at will.';`
	for _, p := range projections.All() {
		name := pgx.Identifier{p.Name()}.Sanitize()
		sql += `create table ` + sandboxSchema + `.` + name + ` (like readmodel.` + name + ` including all);`
	}
	if _, err := conn.Exec(ctx, sql); err != nil {
		// insufficient privilege
		if refused := new(pgconn.PgError); errors.As(err, &refused) && refused.Code == "42501" {
			err = fmt.Errorf("%w; run it as the database's owner, or as a role that may create schemas", err)
		}
		return nil, fmt.Errorf("open the sandbox: %w", err)
	}
	return &Sandbox{conn: conn}, nil
}

// Fold folds events into the tables. The events of a stream must come in the order of their versions,
// from 1. Fold may write them later; Keep writes the rest.
func (s *Sandbox) Fold(ctx context.Context, events []domain.Recorded) error {
	s.page = append(s.page, events...)
	for len(s.page) >= sandboxPage {
		if err := s.write(ctx, sandboxPage); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sandbox) write(ctx context.Context, n int) error {
	err := pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local search_path = `+sandboxSchema); err != nil {
			return err
		}
		for _, p := range projections.All() {
			if err := p.Apply(ctx, tx, s.page[:n]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("fold %d events into the sandbox: %w", n, err)
	}
	s.page = append(s.page[:0], s.page[n:]...)
	return nil
}

// Keep ends the folding and renames the schema, so that it stays. It returns the name; the caller must
// drop the schema.
func (s *Sandbox) Keep(ctx context.Context) (schema string, err error) {
	if err := s.write(ctx, len(s.page)); err != nil {
		return "", err
	}
	err = pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `select $1 || to_char(clock_timestamp() at time zone 'UTC', '_YYYYMMDD_HH24MISS_US')`,
			sandboxSchema).Scan(&schema)
		if err == nil {
			_, err = tx.Exec(ctx,
				`set local synchronous_commit = on; alter schema `+sandboxSchema+` rename to `+schema)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("keep the sandbox: %w", err)
	}
	return schema, nil
}

const (
	// unlockWait is how long Close waits until the server releases the lock of a lost connection.
	unlockWait = 5 * time.Second
	// unlockPause is the pause between two attempts to take that lock.
	unlockPause = 50 * time.Millisecond
)

// Close drops the schema, unless it was kept. If the connection was lost, as after an interrupted
// statement, Close opens another one.
func (s *Sandbox) Close(ctx context.Context) error {
	conn := s.conn
	if conn.IsClosed() {
		var err error
		if conn, err = pgx.ConnectConfig(ctx, conn.Config()); err != nil {
			return fmt.Errorf("drop the sandbox: %w", err)
		}
		defer conn.Close(ctx)
	}
	err := alone(ctx, conn)
	if err == nil {
		_, err = conn.Exec(ctx, `
			drop schema if exists `+sandboxSchema+` cascade;
			select eventstore.unlock('sandbox')`)
	}
	if err != nil {
		return fmt.Errorf("drop the sandbox: %w", err)
	}
	return nil
}

// alone waits until the session has the sandbox's lock.
func alone(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeoutCause(ctx, unlockWait, errTaken)
	defer cancel()
	for {
		var locked bool
		err := conn.QueryRow(ctx, `select eventstore.try_lock('sandbox')`).Scan(&locked)
		if err != nil || locked {
			return err
		}
		select {
		case <-time.After(unlockPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

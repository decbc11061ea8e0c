package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Querier is a connection, a pool or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Collect reads all rows of a query. An error begins with operation.
func Collect[T any](
	ctx context.Context, q Querier, operation string, scan pgx.RowToFunc[T], sql string, args ...any,
) ([]T, error) {
	rows, _ := q.Query(ctx, sql, args...) // CollectRows returns its error
	all, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	return all, nil
}

// UUID converts a UUID to a parameter; uuid.Nil becomes null.
func UUID(u uuid.UUID) pgtype.UUID { return pgtype.UUID{Bytes: u, Valid: u != uuid.Nil} }

// HasCode reports whether the SQLSTATE of a server error begins with one of these codes.
func HasCode(err error, codes ...string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && slices.ContainsFunc(codes, func(code string) bool {
		return strings.HasPrefix(refused.Code, code)
	})
}

// NullTime converts a time to a parameter, rounded up to microseconds; the zero time becomes null.
func NullTime(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.Add(time.Microsecond - 1).Truncate(time.Microsecond)
	return &at
}

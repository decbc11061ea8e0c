package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// collect reads all that a query finds. what is in the error what it was for.
func collect[T any](ctx context.Context, q querier, what string, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, _ := q.Query(ctx, sql, args...) // the rows tell its error
	all, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return all, nil
}

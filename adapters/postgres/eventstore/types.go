package eventstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// NewerTypes returns the event types, as name@version, among the last events of the ledger that
// this program does not know: they were stored by a newer program.
func (s *Store) NewerTypes(ctx context.Context) (unknown []string, err error) {
	// recentEvents is how many events are looked at: enough for the types in use, some 10 ms.
	const recentEvents = 10_000
	rows, err := s.Pool().Query(ctx, `
		select distinct name, event_version from (
			select name, event_version from eventstore.events
			order by transaction_id desc, position desc limit $1) recent
		order by 1, 2`, recentEvents)
	if err == nil {
		var name string
		var version int
		_, err = pgx.ForEachRow(rows, []any{&name, &version}, func() error {
			if !s.codec.Knows(name, version) {
				unknown = append(unknown, fmt.Sprintf("%s@%d", name, version))
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the newest event types: %w", err)
	}
	return unknown, nil
}

package eventstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
)

// Differs implements telegram.Inbox: it reports whether another update was received under this
// update_id. It returns false if none was, or if its bytes were removed by retention. JSON that
// differs in spaces or in the order of its fields is the same update.
func (s *Store) Differs(ctx context.Context, bot string, id int64, body []byte) (differs bool, err error) {
	compare := func(escaped bool) error {
		return s.Pool().QueryRow(ctx, `
			select e.raw not in ('{"$removed": true}', $3::text::jsonb)
			from eventstore.inbox i join eventstore.events e using (stream_id, version)
			where i.bot = $1 and i.update_id = $2 and e.raw is not null`,
			bot, id, postgres.Escape(body, escaped)).Scan(&differs)
	}
	err = compare(false)
	if err == nil && differs || postgres.HasCode(err, "22", "54") {
		err = compare(true) // JSONB cannot hold the body, or a batch with it was stored as bytes
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("compare update %d of bot %s with the one received before: %w", id, bot, err)
	}
	return differs, nil
}

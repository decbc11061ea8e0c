package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
)

// FindOperatorAct implements commands.Store. It is asked only about keys that are none of the
// chat's last acts.
func (s *Store) FindOperatorAct(
	ctx context.Context, stream domain.StreamID, operator, key string,
) (print *uint64, err error) {
	var text string
	// Such an event is never escaped: neither names nor keys have characters that JSON of
	// PostgreSQL's has not.
	err = s.Pool().QueryRow(ctx, `
		select payload ->> 'fingerprint' from eventstore.events
		where stream_id = $1 and name = 'operator_acted' and payload ->> 'key' = $2 and payload ->> 'operator' = $3
		  and version > (select max(version) from eventstore.events where stream_id = $1) - $4
		order by version desc limit 1`, string(stream), key, operator, searchBack).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for an operator's act in %s: %w", stream, err)
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("look for an operator's act in %s: its print: %w", stream, err)
	}
	return &n, nil
}

package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
)

// FindOperatorAct implements commands.Store. The handler calls it only for keys that the chat's state
// does not have.
func (s *Store) FindOperatorAct(
	ctx context.Context, stream domain.StreamID, operator, key string,
) (fingerprint *uint64, err error) {
	var text string
	// Such an event is never escaped: names and keys have no characters that JSONB cannot hold.
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
		return nil, fmt.Errorf("look for an operator's act in %s: its fingerprint: %w", stream, err)
	}
	return &n, nil
}

package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"
)

// Quarantine keeps a body that could not be read, byte by byte. The same body
// again is counted.
func (s *Store) Quarantine(ctx context.Context, bot string, body []byte, reason string) error {
	digest := sha256.Sum256(body)
	_, err := s.pool.Exec(ctx, `
		insert into eventstore.quarantine (bot, body, digest, reason) values ($1, $2, $3, $4)
		on conflict (bot, digest) do update set times = quarantine.times + 1`,
		bot, body, digest[:], clean(reason))
	if err != nil {
		return fmt.Errorf("quarantine %d bytes for bot %s: %w", len(body), bot, err)
	}
	return nil
}

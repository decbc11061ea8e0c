// Package quarantine stores received bodies that could not be parsed, byte by byte, so that they can
// be examined and received again.
package quarantine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
)

// Store has the quarantine of one database. It is safe for concurrent use.
type Store struct{ db *postgres.DB }

// New returns the quarantine of a database.
func New(db *postgres.DB) *Store { return &Store{db} }

// Add stores a body that could not be parsed. If the bot's quarantine has the same body, Add increases
// its count.
func (s *Store) Add(ctx context.Context, bot string, body []byte, reason string) error {
	digest := sha256.Sum256(body)
	_, err := s.db.Pool().Exec(ctx, `
		insert into eventstore.quarantine (bot, body, digest, reason) values ($1, $2, $3, $4)
		on conflict (bot, digest) do update set times = quarantine.times + 1`,
		bot, body, digest[:], postgres.CleanText(reason))
	if err != nil {
		return fmt.Errorf("quarantine %d bytes for bot %s: %w", len(body), bot, err)
	}
	return nil
}

// Entry is a body in quarantine, without the body.
type Entry struct {
	ID         int64
	Bot        string
	Bytes      int
	Reason     string
	ReceivedAt time.Time
	Times      int
}

// List lists up to limit bodies in quarantine, newest first, of one bot, or of all if bot is empty.
func (s *Store) List(ctx context.Context, bot string, limit int) ([]Entry, error) {
	return postgres.Collect(ctx, s.db.Pool(), "list quarantine", pgx.RowToStructByName[Entry], `
		select id, bot, octet_length(body) as bytes, reason, received_at, times from eventstore.quarantine
		where $1 in ('', bot) order by id desc limit $2`, bot, limit)
}

// Body returns a body in quarantine, byte by byte, or false if there is none with this id.
func (s *Store) Body(ctx context.Context, id int64) (body []byte, found bool, err error) {
	err = s.db.Pool().QueryRow(ctx, `select body from eventstore.quarantine where id = $1`, id).Scan(&body)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read quarantined body %d: %w", id, err)
	}
	return body, true, nil
}

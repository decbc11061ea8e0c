// Package webhooks stores the addresses and secrets of the bots' webhooks, and has the lock under which
// a webhook is changed.
package webhooks

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
)

// Store keeps the addresses of one database. It is safe for concurrent use.
type Store struct{ db *postgres.DB }

// New returns the addresses of a database.
func New(db *postgres.DB) *Store { return &Store{db} }

// Address is an address of a bot's webhook, with the SHA-256 of the secret token that is valid there.
// All processes read the same addresses, and cannot derive a secret from them.
type Address struct {
	Bot    string
	Path   string // below /webhook/<bot>/; empty for /webhook/<bot> itself
	Secret [32]byte
	From   time.Time
	Until  time.Time // zero for the address where Telegram posts; during a change, for the new one, too
	Ended  bool      // Until is over, by the database's clock
}

const (
	// lockTimeout is longer than a change of a webhook takes, even if each call takes its full timeout.
	lockTimeout = time.Minute
	// lockEvery is the pause between two attempts to take the lock. The lock becomes free when its
	// session ends.
	lockEvery = 100 * time.Millisecond
)

// Addresses lists all present and former addresses, in the order in which they were opened.
func (s *Store) Addresses(ctx context.Context) ([]Address, error) {
	return postgres.Collect(ctx, s.db.Pool(), "list addresses of webhooks", address, `
		select bot, path, secret_hash, valid_from, valid_until, coalesce(valid_until <= now(), false)
		from eventstore.webhooks
		order by valid_from, bot, path`)
}

func address(row pgx.CollectableRow) (a Address, err error) {
	var hash []byte
	var until *time.Time
	if err = row.Scan(&a.Bot, &a.Path, &hash, &a.From, &until, &a.Ended); err != nil {
		return a, err
	}
	copy(a.Secret[:], hash)
	if until != nil {
		a.Until = *until
	}
	return a, nil
}

// OpenAddress makes a secret valid at an address, also if it was valid there before. own are the
// secrets that are valid at the bot's own address without a row: they get one, so that the table lists
// every open address.
func (s *Store) OpenAddress(ctx context.Context, bot, path string, secret [32]byte, own [][32]byte) error {
	hashes := make([][]byte, len(own))
	for i, h := range own {
		hashes[i] = h[:]
	}
	// The rows of own begin a second earlier, so that the new one is the latest without an end.
	_, err := s.db.Pool().Exec(ctx, `
		with own as (
			insert into eventstore.webhooks (bot, path, secret_hash, valid_from)
			select $1, '', hash, now() - interval '1 second' from unnest($4::bytea[]) hash
			where ($2::text, $3::bytea) <> ('', hash)
			on conflict do nothing
		)
		insert into eventstore.webhooks (bot, path, secret_hash) values ($1, $2, $3)
		on conflict (bot, path, secret_hash) do update set valid_from = now(), valid_until = null`, bot, path,
		secret[:], hashes)
	if err != nil {
		return fmt.Errorf("open address %q of bot %s: %w", path, bot, err)
	}
	return nil
}

// EndOthers ends all addresses and secrets of a bot except one after an overlap. Those with an earlier
// end keep it.
func (s *Store) EndOthers(ctx context.Context, bot, path string, secret [32]byte, overlap time.Duration) error {
	_, err := s.db.Pool().Exec(ctx, `
		update eventstore.webhooks set valid_until = now() + $4::interval
		where bot = $1 and (path, secret_hash) <> ($2, $3) and (valid_until is null or valid_until > now() + $4::interval)`,
		bot, path, secret[:], overlap)
	if err != nil {
		return fmt.Errorf("end former addresses of bot %s: %w", bot, err)
	}
	return nil
}

// LockWebhook takes the lock for changing a bot's webhook. Others wait until unlock is called or this
// process ends. The lock belongs to a session: an open transaction would hold the consumers back.
func (s *Store) LockWebhook(ctx context.Context, bot string) (unlock func(), err error) {
	conn, err := s.db.Session(ctx, "webhook of "+bot)
	if err != nil {
		return nil, err
	}
	unlock = func() { postgres.CloseSession(conn) }
	waited, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	pause := time.NewTicker(lockEvery)
	defer pause.Stop()
	for {
		var locked bool
		err := conn.QueryRow(ctx, `select eventstore.try_lock('webhook ' || $1)`, bot).Scan(&locked)
		if err != nil {
			unlock()
			return nil, fmt.Errorf("lock webhook of bot %s: %w", bot, err)
		}
		if locked {
			return unlock, nil
		}
		select {
		case <-pause.C:
		case <-waited.Done():
			unlock()
			if ctx.Err() != nil {
				return nil, fmt.Errorf("lock webhook of bot %s: %w", bot, context.Cause(ctx))
			}
			return nil, fmt.Errorf("another process has been changing the webhook of bot %s for %v: try again", bot,
				lockTimeout)
		}
	}
}

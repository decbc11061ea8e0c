// Package modelusage counts what the bots' language models use each day, for all processes of a
// database, and grants calls within the daily budget of a bot.
package modelusage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/commands"
)

// Store is the usage in one database. Days are UTC's, and the server's clock counts, so that the
// clocks of the processes need not agree.
type Store struct {
	db *postgres.DB
	// Now replaces the server's clock if it is not nil. Tests set it.
	Now func() time.Time
}

// New returns the usage in a database.
func New(db *postgres.DB) *Store { return &Store{db: db} }

// Reserve counts a call of the model, before it is made, with the most that it can use, if the daily
// budget of the bot allows that. Concurrent calls of several processes never exceed the budget
// together. If a process dies, what it has reserved stays counted.
func (s *Store) Reserve(
	ctx context.Context, bot string, most, budget commands.ModelUsage,
) (_ commands.ModelDay, granted bool, err error) {
	day := commands.ModelDay{Bot: bot}
	// The update locks the row of the day. If two calls insert it at the same time, the second waits
	// for the first and checks the condition again.
	err = s.db.Pool().QueryRow(ctx, `
		insert into eventstore.model_usage as u (bot, day, calls, tokens, cost_micros)
		select $1, (coalesce($8::timestamptz, now()) at time zone 'utc')::date, $2::bigint, $3::bigint, $4::bigint
		where $2 <= $5::bigint and $3 <= $6::bigint and ($7::bigint = 0 or $4 <= $7)
		on conflict (bot, day) do update
		set calls = u.calls + excluded.calls, tokens = u.tokens + excluded.tokens,
			cost_micros = u.cost_micros + excluded.cost_micros
		where u.calls + excluded.calls <= $5 and u.tokens + excluded.tokens <= $6
		  and ($7 = 0 or u.cost_micros + excluded.cost_micros <= $7)
		returning day`,
		bot, most.Calls, most.Tokens, most.Cost, budget.Calls, budget.Tokens, budget.Cost, s.now()).Scan(&day.Day)
	if errors.Is(err, pgx.ErrNoRows) {
		return day, false, nil
	}
	if err != nil {
		return day, false, fmt.Errorf("reserve the budget of bot %s's model: %w", bot, err)
	}
	return day, true, nil
}

// Settle replaces what was reserved for a call by what it used.
func (s *Store) Settle(ctx context.Context, day commands.ModelDay, reserved, took commands.ModelUsage) error {
	_, err := s.db.Pool().Exec(ctx, `
		update eventstore.model_usage
		set calls = greatest(calls + $3::bigint, 0), tokens = greatest(tokens + $4::bigint, 0),
			cost_micros = greatest(cost_micros + $5::bigint, 0)
		where bot = $1 and day = $2`,
		day.Bot, day.Day, took.Calls-reserved.Calls, took.Tokens-reserved.Tokens, took.Cost-reserved.Cost)
	if err != nil {
		return fmt.Errorf("count what bot %s's model used: %w", day.Bot, err)
	}
	return nil
}

// Today returns what the models have used today, by bot.
func (s *Store) Today(ctx context.Context) (map[string]commands.ModelUsage, error) {
	rows, err := s.db.Pool().Query(ctx, `
		select bot, calls, tokens, cost_micros from eventstore.model_usage
		where day = (coalesce($1::timestamptz, now()) at time zone 'utc')::date`, s.now())
	if err != nil {
		return nil, fmt.Errorf("read what the models have used today: %w", err)
	}
	used := map[string]commands.ModelUsage{}
	var bot string
	var one commands.ModelUsage
	_, err = pgx.ForEachRow(rows, []any{&bot, &one.Calls, &one.Tokens, &one.Cost}, func() error {
		used[bot] = one
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what the models have used today: %w", err)
	}
	return used, nil
}

// now returns the clock as a parameter of a statement; nil means the server's clock.
func (s *Store) now() *time.Time {
	if s.Now == nil {
		return nil
	}
	now := s.Now()
	return &now
}

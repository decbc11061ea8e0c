package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// RateLimiter keeps the rate limits of calls, and which chats and bots must not be called for
// now, for all processes of one database. Times are the server's, so that the clocks of
// the processes need not agree.
type RateLimiter struct {
	db *postgres.DB
	// Now replaces the server's clock when it is not nil. Tests do that.
	Now func() time.Time
}

// NewRateLimiter returns the rate limits of a database.
func NewRateLimiter(db *postgres.DB) *RateLimiter { return &RateLimiter{db: db} }

const (
	// floodWindow is how soon after one chat another must be told to wait for it to be
	// the bot that is meant: a bot's calls of a few seconds all hear it, while two chats
	// that reach limits of their own in one such moment are rare.
	floodWindow = 10 * time.Second
	// blockedWait is the wait for a customer who has blocked the bot; the real time is unknown.
	blockedWait = time.Second
	// lostRace is the wait when another process took what was left at the same moment.
	lostRace = 10 * time.Millisecond
)

// Acquire takes a call's share of its bot's and its chat's rate limit, of both or of none,
// by the generic cell rate algorithm: a limit is used up until its tat, the
// theoretical arrival time of the next call, and a call moves it on.
func (f *RateLimiter) Acquire(ctx context.Context, a commands.PermitRequest) (commands.Permit, error) {
	// Every call locks the bot's row first and the chat's then, so that there is no deadlock
	// and each sees what the one before took. A row that does not exist yet cannot
	// be locked: the second of two calls meets it when inserting, where the condition is
	// checked again, and may find that the other share was taken in vain.
	//
	// The commit does not wait for the disk. The claim before the call and the outcome
	// after it do, and what they commit makes durable all that was committed before: a
	// crash of the server can forget the calls in hand, and takes longer than their share.
	rows, err := f.db.Pool().Query(ctx, `
		with clock as (
			select coalesce($7::timestamptz, now()) as now
		), asked as (
			select * from (values ($1::text, $2::interval, $3::interval), ($4, $5, $6)) as a(name, every, slack) where name <> ''
		), held as materialized (
			select f.name, f.tat, f.cause, f.suspended_until, f.reason from eventstore.rate_limits f where f.name in ($1, $4) order by f.name for update
		), seen as (
			select a.name, case when shut then h.cause end as cause, case when shut then h.reason end as reason,
				case when shut and h.cause = 'blocked' then $9::interval
				     when shut then h.suspended_until - now
				     when a.every > interval '0' then greatest(h.tat - a.slack - now, interval '0')
				     else interval '0' end as wait
			from clock, asked a left join held h using (name) cross join lateral (select h.suspended_until > now) as s(shut)
		), taken as (
			insert into eventstore.rate_limits as f (name, tat)
			select a.name, now + a.every from clock, asked a where not exists (select from seen where wait > interval '0')
			on conflict (name) do update
			set tat = greatest(excluded.tat, f.tat + (select a.every from asked a where a.name = f.name)),
				suspended_until = case f.cause when 'token' then (select now from clock) + $8::interval else f.suspended_until end
			where exists (select from clock, asked a where a.name = f.name
			              and (f.suspended_until is null or f.suspended_until <= now) and (a.every = interval '0' or f.tat - a.slack <= now))
			returning f.cause
		)
		select s.name = $4, s.wait, coalesce(s.cause, ''), coalesce(s.reason, ''),
			(select count(*) from taken) = (select count(*) from asked),
			coalesce((select bool_or(cause = 'token') from taken), false),
			set_config('synchronous_commit', 'off', true)
		from seen s`,
		a.Bot.Name, a.Bot.Every, a.Bot.Slack, a.Chat.Name, a.Chat.Every, a.Chat.Slack, f.now(), commands.ProbeInterval, blockedWait)
	if err != nil {
		return commands.Permit{}, fmt.Errorf("rate limit of %s: %w", a.Bot.Name, err)
	}
	leave := commands.Permit{}
	var one commands.Permit
	var granted bool
	_, err = pgx.ForEachRow(rows, []any{&one.Chat, &one.Wait, &one.Cause, &one.Reason, &granted, &one.Probe, nil}, func() error {
		if one.Wait > 0 && (one.Chat || leave.Wait == 0) { // the chat's wait first: it is put off for it
			leave = one
		}
		leave.Probe = one.Probe
		return nil
	})
	if err != nil {
		return commands.Permit{}, fmt.Errorf("rate limit of %s: %w", a.Bot.Name, err)
	}
	if !granted && leave.Wait == 0 {
		leave.Wait = lostRace
	}
	return leave, nil
}

// Suspend rejects the calls to a chat or of a bot for a while, or until Resume when the
// customer has blocked the bot. It is durable when Suspend returns.
func (f *RateLimiter) Suspend(ctx context.Context, name domain.StreamID, cause commands.Cause, wait time.Duration, reason string) error {
	if _, err := f.db.Pool().Exec(ctx, suspend, name, cause, wait, postgres.CleanText(reason), f.now()); err != nil {
		return fmt.Errorf("suspend calls of %s: %w", name, err)
	}
	return nil
}

const suspend = `
	insert into eventstore.rate_limits as f (name, tat, cause, suspended_until, reason)
	select $1, now, $2, case $2 when 'blocked' then 'infinity' else now + $3::interval end, $4
	from (select coalesce($5::timestamptz, now())) as clock(now)
	on conflict (name) do update
	set cause = excluded.cause, suspended_until = greatest(f.suspended_until, excluded.suspended_until), reason = excluded.reason
	where f.cause is distinct from 'blocked'`

// RetryAfter records that Telegram answered a call to a chat with 429 and a time to wait.
// Telegram does not say whether it limits the chat or the bot: when it limits another
// chat within floodWindow it means the bot.
func (f *RateLimiter) RetryAfter(ctx context.Context, bot, chat domain.StreamID, wait time.Duration, reason string) error {
	var b pgx.Batch // the bot first, as in Admit
	b.Queue(`
		insert into eventstore.rate_limits as f (name, tat, limited_chat, limited_at)
		select $1, now, $2, now from (select coalesce($6::timestamptz, now())) as clock(now)
		on conflict (name) do update
		set limited_chat = excluded.limited_chat, limited_at = excluded.limited_at,
			(cause, suspended_until, reason) = (
				select case when again then 'flood' else f.cause end,
					case when again then greatest(f.suspended_until, excluded.limited_at + $3::interval) else f.suspended_until end,
					case when again then $4 else f.reason end
				from (select f.limited_chat <> excluded.limited_chat and f.limited_at > excluded.limited_at - $5::interval) as x(again))`,
		bot, chat, wait, postgres.CleanText(reason), floodWindow, f.now())
	b.Queue(suspend, chat, commands.CauseFlood, wait, postgres.CleanText(reason), f.now())
	if err := f.db.Pool().SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("suspend calls of %s: %w", chat, err)
	}
	return nil
}

// Resume ends the suspension of a chat or a bot for a cause.
func (f *RateLimiter) Resume(ctx context.Context, name domain.StreamID, cause commands.Cause) error {
	_, err := f.db.Pool().Exec(ctx, `
		update eventstore.rate_limits set cause = null, suspended_until = null, reason = null where name = $1 and cause = $2`, name, cause)
	if err != nil {
		return fmt.Errorf("resume calls of %s: %w", name, err)
	}
	return nil
}

// moveOrderingKey leaves finished deliveries as they are.
const moveOrderingKey = `update eventstore.deliveries set ordering_key = $2 where ordering_key = $1 and kind = $3 and finished_at is null`

// MoveOrderingKey gives the unsent messages of a group the ordering key of the group's new
// chat id, before all messages that are enqueued there later.
func (f *RateLimiter) MoveOrderingKey(ctx context.Context, from, to domain.StreamID) error {
	if _, err := f.db.Pool().Exec(ctx, moveOrderingKey, from, to, domain.KindSendMessage); err != nil {
		return fmt.Errorf("move the messages to %s on to %s: %w", from, to, err)
	}
	return nil
}

// Suspended returns the bots whose calls are rejected, and why. A wrong token counts until a
// call has succeeded.
func (f *RateLimiter) Suspended(ctx context.Context) (map[string]commands.Permit, error) {
	rows, err := f.db.Pool().Query(ctx, `
		select name, cause, coalesce(reason, '') from eventstore.rate_limits
		where name >= 'bot-' and name < 'bot.' and cause is not null
		  and (cause = 'token' or suspended_until > coalesce($1::timestamptz, now()))`, f.now())
	if err != nil {
		return nil, fmt.Errorf("look for suspended bots: %w", err)
	}
	suspended := map[string]commands.Permit{}
	var name domain.StreamID
	var why commands.Permit
	_, err = pgx.ForEachRow(rows, []any{&name, &why.Cause, &why.Reason}, func() error {
		suspended[name.Bot()] = why
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for suspended bots: %w", err)
	}
	return suspended, nil
}

// DeleteExpired deletes limits that no longer have an effect, and returns how many.
func (f *RateLimiter) DeleteExpired(ctx context.Context) (int64, error) {
	// SKIP LOCKED leaves rows that another process is about to change.
	tag, err := f.db.Pool().Exec(ctx, `
		with idle as (
			select f.name from eventstore.rate_limits f, (select coalesce($1::timestamptz, now())) as clock(now)
			where f.tat < now and (f.cause is null or f.cause = 'flood' and f.suspended_until < now)
			  and (f.limited_at is null or f.limited_at < now - $2::interval)
			for update of f skip locked
		)
		delete from eventstore.rate_limits f using idle where f.name = idle.name`, f.now(), floodWindow)
	if err != nil {
		return 0, fmt.Errorf("delete expired rate limits: %w", err)
	}
	return tag.RowsAffected(), nil
}

// now is the clock as a parameter: null is the server's.
func (f *RateLimiter) now() *time.Time {
	if f.Now == nil {
		return nil
	}
	now := f.Now()
	return &now
}

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

// RateLimiter stores the rate limits of calls, and which chats and bots are suspended, for all
// processes of one database. Times are the server's, so that the clocks of the processes need not
// agree.
type RateLimiter struct {
	db *postgres.DB
	// Now replaces the server's clock if it is not nil. Tests set it.
	Now func() time.Time
}

// NewRateLimiter returns the rate limits of a database.
func NewRateLimiter(db *postgres.DB) *RateLimiter { return &RateLimiter{db: db} }

const (
	// floodWindow is the longest time between the 429s of two chats, and between the ends of their
	// waits, for which they mean that Telegram limits the bot. Then all calls of the bot get a 429
	// within a few seconds, with the rest of the same wait. Two chats that reach limits of their own
	// at the same time are rare.
	floodWindow = 10 * time.Second
	// firstBackoff is the wait after a 429 without a time: the rate of one chat's calls.
	firstBackoff = time.Second
	// longestBackoff limits the wait after further 429s without a time, which doubles each time. It is
	// the longest pause between two attempts at a delivery.
	longestBackoff = 5 * time.Minute
	// backoffMemory is how long after such a wait the next one is doubled: twice longestBackoff.
	backoffMemory = 10 * time.Minute
	// blockedWait is the wait for a customer who has blocked the bot; the real time is unknown.
	blockedWait = time.Second
	// lostRace is the wait if another process took the last permit at the same time.
	lostRace = 10 * time.Millisecond
)

// clockSetBack is by how much a limit may be used up for longer than one call takes, which is longer
// than calls wait for the limit's row. Beyond that the server's clock was set back, and the limit is free.
const clockSetBack = time.Minute

// Acquire takes a permit for a call from the rate limits of its bot and its chat, from both or from
// none, by the generic cell rate algorithm: a limit has a tat, the theoretical arrival time of the next
// call, and each call moves it on.
func (f *RateLimiter) Acquire(ctx context.Context, a commands.PermitRequest) (commands.Permit, error) {
	// Every call locks the bot's row first and then the chat's, so that there is no deadlock and each
	// call sees what the previous one took. A row that does not exist yet cannot be locked: the second
	// of two calls finds it when inserting, and checks the condition again. It may then have taken a
	// share of the other limit without making a call.
	//
	// The commit does not wait for the disk. The claim before the call and the outcome after it do, and
	// their commits make all earlier ones durable. A crash of the server can lose the permits of the
	// calls that are running, and a restart takes longer than these permits count.
	rows, err := f.db.Pool().Query(ctx, `
		with clock as (
			select coalesce($7::timestamptz, now()) as now
		), asked as (
			select * from (values ($1::text, $2::interval, $3::interval), ($4, $5, $6)) as a(name, every, slack)
			where name <> ''
		), held as materialized (
			select f.name, f.tat, f.cause, f.suspended_until, f.reason from eventstore.rate_limits f
			where f.name in ($1, $4) order by f.name for update
		), seen as (
			select a.name, case when shut then h.cause end as cause, case when shut then h.reason end as reason,
				case when shut and h.cause = 'blocked' then $9::interval
				     when shut then h.suspended_until - now
				     when h.tat - a.slack - now > a.every + $10::interval then interval '0'
				     when a.every > interval '0' then greatest(h.tat - a.slack - now, interval '0')
				     else interval '0' end as wait
			from clock, asked a left join held h using (name) cross join lateral (select h.suspended_until > now) as s(shut)
		), taken as (
			insert into eventstore.rate_limits as f (name, tat)
			select a.name, now + a.every from clock, asked a where not exists (select from seen where wait > interval '0')
			on conflict (name) do update
			set tat = case when f.tat - (select a.slack from asked a where a.name = f.name) > excluded.tat + $10::interval
					then excluded.tat
					else greatest(excluded.tat, f.tat + (select a.every from asked a where a.name = f.name)) end,
				suspended_until = case when f.cause = 'token' or f.flood_until > (select now from clock)
					then (select now from clock) + $8::interval else f.suspended_until end
			where exists (select from clock, asked a where a.name = f.name
			              and (f.suspended_until is null or f.suspended_until <= now)
			              and (a.every = interval '0' or f.tat - a.slack <= now
			                or f.tat - a.slack - now > a.every + $10::interval))
			returning case when f.cause = 'token' or f.cause = 'flood' and f.flood_until > (select now from clock)
				then f.cause end as probe
		)
		select s.name = $4, s.wait, coalesce(s.cause, ''), coalesce(s.reason, ''),
			(select count(*) from taken) = (select count(*) from asked),
			coalesce((select max(probe) from taken), ''),
			set_config('synchronous_commit', 'off', true)
		from seen s`,
		a.Bot.Name, a.Bot.Every, a.Bot.Slack, a.Chat.Name, a.Chat.Every, a.Chat.Slack,
		f.now(), commands.ProbeInterval, blockedWait, clockSetBack)
	if err != nil {
		return commands.Permit{}, fmt.Errorf("rate limit of %s: %w", a.Bot.Name, err)
	}
	var permit, one commands.Permit
	var granted bool
	var probe commands.Cause
	columns := []any{&one.Chat, &one.Wait, &one.Cause, &one.Reason, &granted, &probe, nil}
	_, err = pgx.ForEachRow(rows, columns, func() error {
		if one.Wait > 0 && (one.Chat || permit.Wait == 0) { // if both must wait, the chat's wait counts
			permit = one
		}
		return nil
	})
	if err != nil {
		return commands.Permit{}, fmt.Errorf("rate limit of %s: %w", a.Bot.Name, err)
	}
	if !granted && permit.Wait == 0 {
		permit.Wait = lostRace
	}
	if probe != "" {
		permit.Cause, permit.Probe = probe, true
	}
	return permit, nil
}

// Suspend rejects the calls to a chat or of a bot for a while, or until Resume if the customer has
// blocked the bot. While a bot is suspended for a flood, probes are permitted. The suspension is
// durable when Suspend returns.
func (f *RateLimiter) Suspend(
	ctx context.Context, name domain.StreamID, cause commands.Cause, wait time.Duration, reason string,
) error {
	_, err := f.db.Pool().Exec(ctx, suspend,
		name, cause, wait, postgres.CleanText(reason), f.now(), commands.ProbeInterval, nil)
	if err != nil {
		return fmt.Errorf("suspend calls of %s: %w", name, err)
	}
	return nil
}

const suspend = `
	insert into eventstore.rate_limits as f (name, tat, cause, suspended_until, flood_until, reason, backoff)
	select $1, now, $2,
		case when $2 = 'blocked' then 'infinity' when probed then now + least($3::interval, $6::interval)
			else now + $3::interval end,
		case when probed then now + $3::interval end, $4, $7::interval
	from (select coalesce($5::timestamptz, now()), $2 = 'flood' and $1 like 'bot-%') as clock(now, probed)
	on conflict (name) do update
	set cause = excluded.cause, reason = excluded.reason,
		suspended_until = greatest(f.suspended_until, excluded.suspended_until),
		flood_until = greatest(f.flood_until, excluded.flood_until), backoff = excluded.backoff
	where f.cause is distinct from 'blocked'`

// RetryAfter records that Telegram answered a call to a chat with 429, and returns how long the chat
// must wait: wait, or a backoff if that is 0 because Telegram gave no time. Telegram does not say
// whether it limits the chat or the bot. If it limits another chat within floodWindow, until about the
// same time, RetryAfter suspends the bot, too.
func (f *RateLimiter) RetryAfter(
	ctx context.Context, bot, chat domain.StreamID, wait time.Duration, reason string,
) (time.Duration, error) {
	var backoff *time.Duration
	if wait == 0 {
		err := f.db.Pool().QueryRow(ctx, `
			select coalesce((
				select least(2 * f.backoff, $3::interval) from eventstore.rate_limits f
				where f.name = $1 and f.suspended_until > coalesce($5::timestamptz, now()) - $4::interval
			), $2::interval)`,
			chat, firstBackoff, longestBackoff, backoffMemory, f.now()).Scan(&wait)
		if err != nil {
			return 0, fmt.Errorf("read the backoff of %s: %w", chat, err)
		}
		backoff = &wait
	}
	var b pgx.Batch // it locks the bot's row first, as Acquire does
	b.Queue(`
		insert into eventstore.rate_limits as f (name, tat, limited_chat, limited_at, limited_until)
		select $1, now, $2, now, now + $3::interval from (select coalesce($6::timestamptz, now())) as clock(now)
		on conflict (name) do update
		set limited_chat = excluded.limited_chat, limited_at = excluded.limited_at,
			limited_until = excluded.limited_until,
			(cause, suspended_until, flood_until, reason) = (
				select case when common > excluded.limited_at then 'flood' else f.cause end,
					case when common > excluded.limited_at
						then greatest(f.suspended_until, least(common, excluded.limited_at + $7::interval))
						else f.suspended_until end,
					case when common > excluded.limited_at then greatest(f.flood_until, common) else f.flood_until end,
					case when common > excluded.limited_at then $4 else f.reason end
				from (select case when f.limited_chat <> excluded.limited_chat
						and f.limited_at > excluded.limited_at - $5::interval
						and f.limited_until between excluded.limited_until - $5::interval
							and excluded.limited_until + $5::interval
					then greatest(f.limited_until, excluded.limited_until) end) as x(common))`,
		bot, chat, wait, postgres.CleanText(reason), floodWindow, f.now(), commands.ProbeInterval)
	b.Queue(suspend, chat, commands.CauseFlood, wait, postgres.CleanText(reason), f.now(), commands.ProbeInterval, backoff)
	if err := f.db.Pool().SendBatch(ctx, &b).Close(); err != nil {
		return 0, fmt.Errorf("suspend calls of %s: %w", chat, err)
	}
	return wait, nil
}

// Resume ends the suspension of a chat or a bot for a cause.
func (f *RateLimiter) Resume(ctx context.Context, name domain.StreamID, cause commands.Cause) error {
	_, err := f.db.Pool().Exec(ctx, `
		update eventstore.rate_limits set cause = null, suspended_until = null, flood_until = null, reason = null
		where name = $1 and cause = $2`, name, cause)
	if err != nil {
		return fmt.Errorf("resume calls of %s: %w", name, err)
	}
	return nil
}

// moveOrderingKey leaves finished deliveries as they are.
const moveOrderingKey = `
	update eventstore.deliveries set ordering_key = $2
	where ordering_key = $1 and kind = $3 and finished_at is null`

// MoveOrderingKey gives the unsent messages of a group the ordering key of the group's new
// chat id, before all messages that are enqueued there later.
func (f *RateLimiter) MoveOrderingKey(ctx context.Context, from, to domain.StreamID) error {
	if _, err := f.db.Pool().Exec(ctx, moveOrderingKey, from, to, domain.KindSendMessage); err != nil {
		return fmt.Errorf("move messages from ordering key %s to %s: %w", from, to, err)
	}
	return nil
}

// Suspended returns the bots whose calls are rejected, with the cause and the reason. A wrong token
// counts until a call has succeeded, a flood until the time that Telegram gave.
func (f *RateLimiter) Suspended(ctx context.Context) (map[string]commands.Permit, error) {
	rows, err := f.db.Pool().Query(ctx, `
		select name, cause, coalesce(reason, '') from eventstore.rate_limits
		where name >= 'bot-' and name < 'bot.' and cause is not null
		  and (cause = 'token' or greatest(suspended_until, flood_until) > coalesce($1::timestamptz, now()))`, f.now())
	if err != nil {
		return nil, fmt.Errorf("look for suspended bots: %w", err)
	}
	suspended := map[string]commands.Permit{}
	var name domain.StreamID
	var permit commands.Permit
	_, err = pgx.ForEachRow(rows, []any{&name, &permit.Cause, &permit.Reason}, func() error {
		suspended[name.Bot()] = permit
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for suspended bots: %w", err)
	}
	return suspended, nil
}

// DeleteExpired deletes limits that no longer have an effect, and returns their number.
func (f *RateLimiter) DeleteExpired(ctx context.Context) (int64, error) {
	// SKIP LOCKED leaves rows that another process is about to change.
	tag, err := f.db.Pool().Exec(ctx, `
		with idle as (
			select f.name from eventstore.rate_limits f, (select coalesce($1::timestamptz, now())) as clock(now)
			where f.tat < now and (f.cause is null or f.cause = 'flood' and greatest(f.suspended_until, f.flood_until) < now)
			  and (f.backoff is null or f.suspended_until is null or f.suspended_until < now - $3::interval)
			  and (f.limited_at is null or f.limited_at < now - $2::interval)
			for update of f skip locked
		)
		delete from eventstore.rate_limits f using idle where f.name = idle.name`, f.now(), floodWindow, backoffMemory)
	if err != nil {
		return 0, fmt.Errorf("delete expired rate limits: %w", err)
	}
	return tag.RowsAffected(), nil
}

// now returns the clock as a parameter of a statement; nil means the server's clock.
func (f *RateLimiter) now() *time.Time {
	if f.Now == nil {
		return nil
	}
	now := f.Now()
	return &now
}

-- The schema of chatledger. eventstore holds the ledger, the outbox and what the program needs to
-- run; readmodel holds the tables that analysts read, all of which are built from the ledger.

-- +goose Up

---------------------------------------------------------------------------------------------------
-- eventstore: the ledger
---------------------------------------------------------------------------------------------------

create schema eventstore;
comment on schema eventstore is 'The ledger of events, the outbox and what the program needs to run. Only chatledger writes here.';

-- In another cluster transaction ids start again. After a restore from a dump, `chatledger rebase`
-- gives this function a body that adds the difference. The function stands between the cluster's
-- ids and the ledger's wherever they meet. The planner inlines it, so it costs nothing while there
-- is nothing to add, and a range of ids stays a range of the index when there is.
create function eventstore.rebased(id xid8) returns xid8 language sql stable parallel safe as 'select id';
comment on function eventstore.rebased is 'Maps a transaction id of this cluster to one of the ledger: above every id of events restored from another cluster.';

-- +goose StatementBegin
create function eventstore.require(holds boolean, what text) returns boolean language plpgsql as $$
begin
    if not holds then
        raise exception '%', what using errcode = 'CL001';
    end if;
    return true;
end $$;
-- +goose StatementEnd
comment on function eventstore.require is 'Aborts the transaction with SQLSTATE CL001 unless a condition holds.';

-- One row per stream, written once with its first event: the version of a stream is that of
-- its last event, so there is nothing here to update, lock or vacuum.
create table eventstore.streams (
    stream_id  text collate "C" primary key,
    created_at timestamptz not null default now()
);
comment on table eventstore.streams is 'Every stream there is: one per chat, and one per bot for updates that belong to no chat.';
comment on column eventstore.streams.stream_id is 'chat-<bot>:<chat id> or bot-<bot>.';
comment on column eventstore.streams.created_at is 'When the first event of the stream was stored.';

create table eventstore.events (
    position       bigint generated always as identity,
    transaction_id xid8 not null default eventstore.rebased(pg_current_xact_id()),
    stream_id      text collate "C" not null,
    version        bigint not null check (version > 0),
    event_id       uuid not null,
    name           text collate "C" not null,
    event_version  smallint not null,
    payload        jsonb not null,
    raw            jsonb,
    causation_id   uuid,
    correlation_id uuid not null,
    actor          text not null,
    occurred_at    timestamptz not null,
    recorded_at    timestamptz not null default clock_timestamp(),
    trace          text,
    -- Optimistic concurrency: of two writers at one expected version, one row gets in.
    primary key (stream_id, version)
) with (
    -- Rows are only inserted, apart from updates that retention removes. Fixed thresholds: a table
    -- of any size is frozen and its visibility map kept in equal small steps, not in ever larger ones.
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 200000,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 200000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 200000
);
-- The feed order. Positions are drawn before commit, so they commit out of order;
-- with the transaction id in front, everything below the oldest running one is final.
create unique index events_feed on eventstore.events (transaction_id, position);
comment on table eventstore.events is 'The ledger: every fact, once, never changed.';
comment on column eventstore.events.position is 'Number drawn from a sequence; together with transaction_id the place in the feed. Gaps mean nothing.';
comment on column eventstore.events.transaction_id is 'The transaction that stored the event, as counted by eventstore.rebased; the feed is read in (transaction_id, position) order below the oldest running transaction.';
comment on column eventstore.events.stream_id is 'The stream: chat-<bot>:<chat id> or bot-<bot>.';
comment on column eventstore.events.version is 'Place in the stream, from 1, without gaps.';
comment on column eventstore.events.event_id is 'The event''s own id, UUID version 7.';
comment on column eventstore.events.name is 'Stored name of the event type, for example message_received.';
comment on column eventstore.events.event_version is 'Version of the payload''s shape; older shapes are upcast when read.';
comment on column eventstore.events.payload is 'What happened. {"$base64": "..."} holds a payload that JSONB cannot, such as text with a NUL.';
comment on column eventstore.events.raw is 'The whole update as Telegram sent it, on the event that received it; null elsewhere. {"$base64": "..."} holds the bytes of one that JSONB cannot, {"$removed": true} stands for one that was not kept any longer.';
comment on column eventstore.events.causation_id is 'The event this one answers; null when it came from outside.';
comment on column eventstore.events.correlation_id is 'The event id of the update that began the chain.';
comment on column eventstore.events.actor is 'Who caused it: customer, bot, operator:<name>, delivery, ....';
comment on column eventstore.events.occurred_at is 'When it happened, by the clock of the process that decided it.';
comment on column eventstore.events.recorded_at is 'When it was written, by the database''s clock.';
comment on column eventstore.events.trace is 'Trace context of the request that decided it, as a W3C traceparent; null when it was not sampled.';

-- update_id repeats when Telegram retries; the pair is what makes an update count once.
create table eventstore.inbox (
    bot         text collate "C" not null,
    update_id   bigint not null,
    stream_id   text collate "C" not null,
    version     bigint not null,
    received_at timestamptz not null default now(),
    primary key (bot, update_id)
) with (
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 200000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 200000
);
comment on table eventstore.inbox is 'Updates already received, to recognise a redelivery. Rows are kept for days, not forever: Telegram draws new update ids after a quiet week.';
comment on column eventstore.inbox.bot is 'The bot the update came to.';
comment on column eventstore.inbox.update_id is 'Telegram''s number of the update, rising per bot.';
comment on column eventstore.inbox.stream_id is 'Where its event stands.';
comment on column eventstore.inbox.version is 'The event that received it.';
comment on column eventstore.inbox.received_at is 'When it was stored.';

create table eventstore.quarantine (
    id          bigint generated always as identity primary key,
    bot         text not null,
    body        bytea not null,
    digest      bytea not null,
    reason      text not null,
    received_at timestamptz not null default now(),
    times       integer not null default 1,
    unique (bot, digest) -- the same body again is counted, not stored again
);
comment on table eventstore.quarantine is 'Requests with a valid secret token whose body could not be parsed, or repeats the update_id of another update; kept byte by byte.';
comment on column eventstore.quarantine.id is 'Number of the row.';
comment on column eventstore.quarantine.bot is 'The bot it was posted to; zendesk:<bot> when Zendesk was to have posted it.';
comment on column eventstore.quarantine.body is 'The bytes as received.';
comment on column eventstore.quarantine.digest is 'SHA-256 of the body: the same body again is counted, not stored again.';
comment on column eventstore.quarantine.reason is 'Why it was not received.';
comment on column eventstore.quarantine.received_at is 'When it was first received.';
comment on column eventstore.quarantine.times is 'How often it was received.';

create table eventstore.checkpoints (
    consumer_group text collate "C" primary key,
    version        integer not null default 1,
    transaction_id xid8 not null default '0',
    position       bigint not null default 0,
    events         bigint not null default 0,
    term           bigint not null default 0,
    parked_changes bigint not null default 0,
    updated_at     timestamptz not null default now()
) with (fillfactor = 20); -- one hot row per group: leave its page room for in-place versions
comment on table eventstore.checkpoints is 'How far each consumer group has read the feed: the last event whose effects are committed.';
comment on column eventstore.checkpoints.consumer_group is 'Name of the group; a renamed group reads the feed from its beginning. "<table> (previous)" is the checkpoint of the table that the last rebuild replaced.';
comment on column eventstore.checkpoints.version is 'Version of the projection that folded the table; 1 for groups that keep no table.';
comment on column eventstore.checkpoints.transaction_id is 'transaction_id of the last event read.';
comment on column eventstore.checkpoints.position is 'position of the last event read.';
comment on column eventstore.checkpoints.events is 'Events read since the group began.';
comment on column eventstore.checkpoints.term is 'Term of the leader that may move it: a leader with an earlier term is fenced off.';
comment on column eventstore.checkpoints.parked_changes is 'Counts changes of the group''s parked streams by anybody but its leader, which then reads them again.';
comment on column eventstore.checkpoints.updated_at is 'When it last moved.';

create table eventstore.leaders (
    consumer_group text collate "C" primary key,
    term           bigint not null default 0,
    holder         text collate "C" not null default '',
    pid            integer,
    backend_start  timestamptz,
    beat           bigint not null default 0,
    beat_at        timestamptz not null default now()
) with (fillfactor = 20); -- hot rows, as above
comment on table eventstore.leaders is 'Which process leads a consumer group. Another process takes a group over when its leader''s session is gone, or its heartbeat stands still for 3 s.';
comment on column eventstore.leaders.consumer_group is 'Name of the group.';
comment on column eventstore.leaders.term is 'Number of the leadership; it grows by one with each leader.';
comment on column eventstore.leaders.holder is 'Process that leads the group, or led it last.';
comment on column eventstore.leaders.pid is 'Server process of the leader''s session; null when the group was given up.';
comment on column eventstore.leaders.backend_start is 'When that session began, since process ids come again.';
comment on column eventstore.leaders.beat is 'Heartbeats sent in this term.';
comment on column eventstore.leaders.beat_at is 'When the last heartbeat was sent, for people; decisions use beat.';

create table eventstore.parked (
    consumer_group text collate "C" not null,
    stream_id      text collate "C" not null,
    version        bigint not null,
    transaction_id xid8 not null,
    position       bigint not null,
    event          text not null,
    reason         text not null,
    tries          integer not null,
    parked_at      timestamptz not null,
    last_try_at    timestamptz not null,
    request        text collate "C" not null default '' check (request in ('', 'retry', 'skip')),
    primary key (consumer_group, stream_id)
);
comment on table eventstore.parked is 'Streams of which a consumer group could not handle an event. It handles the other streams, and none of the events of these from that event on.';
comment on column eventstore.parked.consumer_group is 'The group. "<table> (previous)" belongs to the table that the last rebuild replaced.';
comment on column eventstore.parked.stream_id is 'The stream.';
comment on column eventstore.parked.version is 'Version of the event that could not be handled.';
comment on column eventstore.parked.transaction_id is 'transaction_id of that event.';
comment on column eventstore.parked.position is 'position of that event.';
comment on column eventstore.parked.event is 'Stored name of that event.';
comment on column eventstore.parked.reason is 'The error.';
comment on column eventstore.parked.tries is 'How often the event was tried.';
comment on column eventstore.parked.parked_at is 'When the stream was parked.';
comment on column eventstore.parked.last_try_at is 'When the event was last tried.';
comment on column eventstore.parked.request is 'What an operator asked the leader to do: retry the event, or skip it and handle those after it; empty for nothing.';

---------------------------------------------------------------------------------------------------
-- eventstore: the outbox, rate limits and timers
---------------------------------------------------------------------------------------------------

-- A delivery is finished when finished_at is set. Until then it holds back the later ones with its
-- ordering key: it waits, it is being sent, or it is a dead letter that an operator must decide about.
create table eventstore.deliveries (
    delivery_id    uuid primary key,
    seq            bigint generated always as identity,
    stream_id      text collate "C" not null,
    version        bigint not null,
    kind           text collate "C" not null,
    destination    text collate "C" not null,
    ordering_key   text collate "C" not null,
    payload        jsonb not null,
    priority       smallint not null default 0,
    state          text collate "C" not null default 'waiting'
                   check (state in ('waiting', 'sending', 'done', 'refused', 'unknown', 'dead', 'skipped')),
    deferred       boolean not null default false,
    postponed      boolean not null default false,
    attempts       integer not null default 0,
    unsure         integer not null default 0,
    waived         integer not null default 0,
    next_attempt   timestamptz not null default now(),
    lease_owner    text collate "C",
    lease_until    timestamptz,
    fence          bigint not null default 0,
    outcome        jsonb,
    reason         text,
    correlation_id uuid not null,
    created_at     timestamptz not null default now(),
    retried_at     timestamptz,
    finished_at    timestamptz
) with (fillfactor = 70); -- a row is updated twice or thrice, then never again
-- Finds the head of each ordering key; finished deliveries are never read.
create index deliveries_ordering_key on eventstore.deliveries (ordering_key, seq) where finished_at is null;
-- What claims read: the heads of ordering keys that are due or nearly so, and what has just been enqueued.
create index deliveries_due on eventstore.deliveries (destination, priority desc, seq)
    where state = 'waiting' and not deferred and not postponed;
-- What is postponed, however much it is, costs nothing until it is due.
create index deliveries_postponed on eventstore.deliveries (next_attempt) where state = 'waiting' and postponed;
-- The next deliveries of a long ordering key, when its first ones are finished.
create index deliveries_deferred on eventstore.deliveries (ordering_key, seq) where deferred;
-- Expired leases, for other processes to reclaim.
create index deliveries_leased on eventstore.deliveries (lease_until) where state = 'sending';
-- The deliveries of one chat, or of one event.
create index deliveries_stream on eventstore.deliveries (stream_id, version);
-- Dead letters and unknown outcomes: few, and what operators ask for.
create index deliveries_dead on eventstore.deliveries (delivery_id) where state in ('dead', 'unknown');
comment on table eventstore.deliveries is 'Everything that leaves the system: intent, attempts and outcome, one row per effect.';
comment on column eventstore.deliveries.delivery_id is 'The event that asked for the effect.';
comment on column eventstore.deliveries.seq is 'Order of the row: deliveries with one ordering key are sent in this order.';
comment on column eventstore.deliveries.stream_id is 'Stream of the event that asked for it.';
comment on column eventstore.deliveries.version is 'Version of the event that asked for it.';
comment on column eventstore.deliveries.kind is 'What is to be done, for example telegram.sendMessage.';
comment on column eventstore.deliveries.destination is 'Where to, for example telegram:demo; destinations do not wait for each other.';
comment on column eventstore.deliveries.ordering_key is 'Deliveries with one ordering key are sent one after the other; different keys do not wait for each other.';
comment on column eventstore.deliveries.payload is 'What the sender needs.';
comment on column eventstore.deliveries.priority is 'Higher goes first among the ordering keys that are due.';
comment on column eventstore.deliveries.state is 'waiting, sending, then done, refused (the other side said no), unknown (it may have arrived), dead (given up) or skipped (an operator decided that it is not to be sent).';
comment on column eventstore.deliveries.deferred is 'True while it waits behind others with its ordering key: claims do not read it.';
comment on column eventstore.deliveries.postponed is 'True while its next attempt is more than seconds ahead: claims do not read it.';
comment on column eventstore.deliveries.attempts is 'Attempts begun, since an operator last retried it.';
comment on column eventstore.deliveries.unsure is 'Attempts that may have arrived although no answer came; a retry after one may be a duplicate.';
comment on column eventstore.deliveries.waived is 'Unsure attempts that do not count against another attempt: those that an operator knew of when retrying it, and those that a gateway answered, which most likely did not arrive.';
comment on column eventstore.deliveries.next_attempt is 'Not before this time.';
comment on column eventstore.deliveries.lease_owner is 'The worker and process that hold the lease.';
comment on column eventstore.deliveries.lease_until is 'When the lease expires and another process may reclaim the delivery.';
comment on column eventstore.deliveries.fence is 'Fencing token: the number of the lease. An outcome with an older number is rejected.';
comment on column eventstore.deliveries.outcome is 'What the other side answered, for example the message id.';
comment on column eventstore.deliveries.reason is 'Why it failed or was last postponed.';
comment on column eventstore.deliveries.correlation_id is 'The update that began the chain.';
comment on column eventstore.deliveries.created_at is 'When the effect was decided upon.';
comment on column eventstore.deliveries.retried_at is 'When an operator last retried it; null when nobody did.';
comment on column eventstore.deliveries.finished_at is 'When it was finished; null while it holds its ordering key. A dead or unknown delivery without it is a dead letter: an operator must decide.';

-- One row per bot and per chat that was called lately; a chat's row is deleted once it has no
-- effect. A bot's row changes with every call: fillfactor leaves room in its page.
create table eventstore.rate_limits (
    name         text collate "C" primary key,
    tat          timestamptz not null,
    cause        text collate "C" check (cause in ('flood', 'token', 'blocked')),
    suspended_until timestamptz,
    reason       text,
    limited_chat    text collate "C",
    limited_at   timestamptz,
    limited_until timestamptz,
    flood_until  timestamptz,
    backoff      interval,
    check ((cause is null) = (suspended_until is null)),
    check ((limited_chat is null) = (limited_at is null)),
    check ((limited_chat is null) = (limited_until is null))
) with (fillfactor = 50);
comment on table eventstore.rate_limits is 'Rate limits of calls, and which chats and bots are suspended: shared by all processes and kept over restarts.';
comment on column eventstore.rate_limits.name is 'Whose limit it is: the stream of a chat or of a bot, or an account at another system such as zendesk:shop.zendesk.com.';
comment on column eventstore.rate_limits.tat is 'The theoretical arrival time of the next call (GCRA): the calls made have used the limit up to then. Past: nothing is used up.';
comment on column eventstore.rate_limits.cause is 'Why calls are suspended: flood (Telegram asked to wait), token (Telegram rejects the bot''s token), blocked (the customer blocked the bot); null when they are not.';
comment on column eventstore.rate_limits.suspended_until is 'No call before then. With cause token, and before flood_until, one call may probe then, and postpones this for the others.';
comment on column eventstore.rate_limits.reason is 'What Telegram said.';
comment on column eventstore.rate_limits.limited_chat is 'Of a bot: the chat whose call Telegram last answered with a time to wait.';
comment on column eventstore.rate_limits.limited_at is 'When it did. If another chat is limited soon after, until about the same time, Telegram means the bot.';
comment on column eventstore.rate_limits.limited_until is 'Until when that chat had to wait.';
comment on column eventstore.rate_limits.flood_until is 'Of a bot: until when Telegram asked it to wait. Until then one call a minute probes whether that is over, or was a mistake.';
comment on column eventstore.rate_limits.backoff is 'Of a chat: how long it was last suspended when Telegram gave no time to wait. The next such time is twice as long.';

-- One row per bot and day on which its language model was asked.
create table eventstore.model_usage (
    bot         text collate "C" not null,
    day         date not null,
    calls       bigint not null,
    tokens      bigint not null,
    cost_micros bigint not null,
    primary key (bot, day)
);
comment on table eventstore.model_usage is 'What the bots'' language models have used by day (UTC), which their budgets limit.';
comment on column eventstore.model_usage.bot is 'The bot''s name in the bots file.';
comment on column eventstore.model_usage.day is 'The day, by the clock of the server and in UTC.';
comment on column eventstore.model_usage.calls is 'Questions asked.';
comment on column eventstore.model_usage.tokens is 'Tokens of questions and answers. What runs is counted with the most that it can take.';
comment on column eventstore.model_usage.cost_micros is 'Cost in millionths of the currency of the prices in the bots file.';

-- A cache: every row can be deleted, and nothing that is read from it is trusted without the
-- event that it stands at.
create table eventstore.snapshots (
    stream_id  text collate "C" primary key,
    version    bigint not null check (version > 0),
    format     text not null,
    state      bytea not null,
    written_at timestamptz not null default now()
) with (fillfactor = 70); -- rewritten every some hundred events
comment on table eventstore.snapshots is 'The state of a long stream at a version, so that a process which does not have it in memory loads only the events behind. Tables are never built from it.';
comment on column eventstore.snapshots.stream_id is 'The chat''s stream.';
comment on column eventstore.snapshots.version is 'The version of the last event that the state includes.';
comment on column eventstore.snapshots.format is 'The shape of the state and the rules of its fold. A program with another format ignores the row.';
comment on column eventstore.snapshots.state is 'The state as JSON, in UTF-8.';
comment on column eventstore.snapshots.written_at is 'When the row was written.';

create table eventstore.timers (
    stream_id   text collate "C" primary key,
    due_at      timestamptz not null,
    taken_until timestamptz,
    quiet       boolean not null default false
) with (fillfactor = 70); -- rewritten with every step of a workflow
-- The next timer to be due.
create index timers_due on eventstore.timers (due_at);
comment on table eventstore.timers is 'When time brings something about in a chat: a reminder, the end of a workflow, the answer to a backlog, an overdue ticket. What it brings about is decided by the chat''s events; a row only says when to look.';
comment on column eventstore.timers.stream_id is 'The chat''s stream.';
comment on column eventstore.timers.due_at is 'When to look next.';
comment on column eventstore.timers.taken_until is 'End of the lease of the process that handles the timer; null while none does.';
comment on column eventstore.timers.quiet is 'What is due by the next look is done without a word to the customer: the chat was imported, and it fell due while the archive lay.';

---------------------------------------------------------------------------------------------------
-- eventstore: operators and webhooks
---------------------------------------------------------------------------------------------------

create table eventstore.operators (
    name         text collate "C" primary key check (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    role         text not null check (role in ('viewer', 'agent', 'admin')),
    bots         text[] not null default '{}',
    token_hash   bytea not null unique check (length(token_hash) = 32),
    password     text,
    totp_secret  bytea,
    totp_step    bigint,
    oidc_login   text collate "C" unique,
    created_at   timestamptz not null default now(),
    last_seen_at timestamptz,
    disabled     boolean not null default false
);
comment on table eventstore.operators is 'Operators: people and programs that may use the operators'' API.';
comment on column eventstore.operators.name is 'Their name, under which events keep what they do.';
comment on column eventstore.operators.role is 'viewer reads, agent acts on chats, admin takes a chat from another, too.';
comment on column eventstore.operators.bots is 'Names of the bots whose chats they may see and act on; empty for all there are.';
comment on column eventstore.operators.token_hash is 'SHA-256 of the token, which is not stored.';
comment on column eventstore.operators.password is 'Argon2id hash of the password with which they log in; null for who has a token only.';
comment on column eventstore.operators.totp_secret is 'Secret of the one-time passwords (RFC 6238) that a login needs beside the password; null when it needs none.';
comment on column eventstore.operators.totp_step is 'Number of the 30 seconds of the last one-time password used: each works once. Null when none was.';
comment on column eventstore.operators.oidc_login is 'Name under which the OpenID Connect provider knows them; null for who does not log in there.';
comment on column eventstore.operators.created_at is 'When they were added, or got another token.';
comment on column eventstore.operators.last_seen_at is 'When they last used the API, to the minute; null when they never did.';
comment on column eventstore.operators.disabled is 'True when they may not use it any more.';

create table eventstore.operator_sessions (
    session_hash bytea primary key check (length(session_hash) = 32),
    operator     text collate "C" not null references eventstore.operators (name) on delete cascade,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz not null
);
-- An operator's sessions, to end them all.
create index operator_sessions_of on eventstore.operator_sessions (operator);
-- Expired sessions, to delete them.
create index operator_sessions_old on eventstore.operator_sessions (expires_at);
comment on table eventstore.operator_sessions is 'Browsers in which operators are logged in.';
comment on column eventstore.operator_sessions.session_hash is 'SHA-256 of the session cookie, which is not stored.';
comment on column eventstore.operator_sessions.operator is 'The operator that is logged in.';
comment on column eventstore.operator_sessions.created_at is 'When they logged in.';
comment on column eventstore.operator_sessions.expires_at is 'When the session expires.';

-- Where Telegram may post to, and with which secret token. The token itself is not kept: receivers
-- compare digests, and the process that registers an address derives its secret from the bot's token.
create table eventstore.webhooks (
    bot         text not null,
    path        text not null,
    secret_hash bytea not null check (length(secret_hash) = 32),
    valid_from  timestamptz not null default now(),
    valid_until timestamptz,
    primary key (bot, path, secret_hash)
);
comment on table eventstore.webhooks is 'The addresses of each bot''s webhook and the secrets that are right there, with the time in which they are. A row that has ended stays: that secret is not right again.';
comment on column eventstore.webhooks.bot is 'Name of the bot.';
comment on column eventstore.webhooks.path is 'What follows /webhook/<bot>/ in the address; empty for /webhook/<bot> itself.';
comment on column eventstore.webhooks.secret_hash is 'SHA-256 of the secret.';
comment on column eventstore.webhooks.valid_from is 'Since when it is right.';
comment on column eventstore.webhooks.valid_until is 'When it ceases to be right; null for the address that Telegram was told last.';

---------------------------------------------------------------------------------------------------
-- eventstore: retention
---------------------------------------------------------------------------------------------------

-- How far the removal of each bot's updates has come. The feed is read once, however often it runs.
create table eventstore.retention (
    bot            text collate "C" primary key,
    transaction_id xid8 not null default '0',
    position       bigint not null default 0,
    removed        bigint not null default 0,
    updated_at     timestamptz not null default now()
);
comment on table eventstore.retention is 'How far the updates of each bot that keeps them for a time only have been removed from eventstore.events.';
comment on column eventstore.retention.bot is 'Name of the bot.';
comment on column eventstore.retention.transaction_id is 'transaction_id of the last event looked at.';
comment on column eventstore.retention.position is 'position of the last event looked at.';
comment on column eventstore.retention.removed is 'Updates removed so far.';
comment on column eventstore.retention.updated_at is 'When it last moved.';

create table eventstore.retention_limit (
    one_row   boolean primary key default true check (one_row),
    least_age interval not null check (least_age >= interval '1 day')
);
comment on table eventstore.retention_limit is 'How old an update must be to be removed, whatever the bots file says. Only the owner writes here.';
comment on column eventstore.retention_limit.one_row is 'True: there is one row at most.';
comment on column eventstore.retention_limit.least_age is 'The least age; a day while there is no row.';

-- Nobody may change the events; this, by the rights of who owns it, may do one thing to them. It looks
-- at no more than the given number of events, so that it is open for milliseconds: behind an
-- open write no consumer can read. A row that held an update still says so, by which it is known
-- that the event received one. The least age keeps a mistake, or a stolen password, from emptying the
-- ledger of what has only just come.
-- +goose StatementBegin
create function eventstore.remove_updates(of_bot text, before timestamptz, most integer, out looked_at bigint, out removed bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    mark eventstore.retention;
begin
    before := least(before, now() - coalesce((select least_age from eventstore.retention_limit), interval '1 day'));
    insert into eventstore.retention (bot) values (of_bot) on conflict do nothing;
    select * into mark from eventstore.retention where bot = of_bot for update;
    with page as (
        select transaction_id, position, stream_id, version, recorded_at from eventstore.events
        where (transaction_id, position) > (mark.transaction_id, mark.position)
          and transaction_id < eventstore.rebased(pg_snapshot_xmin(pg_current_snapshot()))
        order by transaction_id, position limit most
    ), old as materialized ( -- up to the first that is to be kept
        select * from (select *, bool_and(recorded_at < before) over (order by transaction_id, position) as all_old from page) p where all_old
    ), emptied as (
        update eventstore.events e set raw = '{"$removed": true}'
        from old o where e.stream_id = o.stream_id and e.version = o.version
          and (starts_with(o.stream_id, 'chat-' || of_bot || ':') or o.stream_id = 'bot-' || of_bot)
          and e.raw <> '{"$removed": true}'
        returning 1
    ), last as (
        select transaction_id, position from old order by transaction_id desc, position desc limit 1
    ), moved as (
        update eventstore.retention r
        set transaction_id = l.transaction_id, position = l.position, removed = r.removed + (select count(*) from emptied), updated_at = now()
        from last l where r.bot = of_bot
    )
    select (select count(*) from old), (select count(*) from emptied) into looked_at, removed;
end $$;
-- +goose StatementEnd
comment on function eventstore.remove_updates is 'Removes the updates, as Telegram sent them, from the next events of a bot that are older than a time, and than the least age of eventstore.retention_limit. What the events say stays.';
revoke execute on function eventstore.remove_updates from public;

---------------------------------------------------------------------------------------------------
-- readmodel: tables for analysts
---------------------------------------------------------------------------------------------------

create schema readmodel;
comment on schema readmodel is 'Read model: tables for analysts, which can be rebuilt from the events at any time.';

-- A rebuild makes its tables in schemas that always exist: a process that rebuilds needs no right
-- to create schemas, with which it could put one in the way of the database's administrators.
create schema readmodel_rebuild;
comment on schema readmodel_rebuild is 'Tables that a rebuild is folding, until the swap makes them the live ones.';
create schema readmodel_previous;
comment on schema readmodel_previous is 'Tables that the last rebuild of each replaced, kept for chatledger rebuild --rollback.';

create table readmodel.conversations (
    stream_id           text collate "C" primary key,
    bot                 text not null,
    chat_id             bigint,
    chat_type           text,
    customer            text,
    username            text,
    language            text,
    handler             text not null,
    blocked             boolean not null,
    workflow            text,
    step                text,
    collected           jsonb not null,
    workflow_started_at timestamptz,
    paused              jsonb,
    last_intent         text,
    last_message        text,
    last_message_at     timestamptz,
    last_reply          text,
    last_reply_at       timestamptz,
    messages            bigint not null,
    replies             bigint not null,
    unread              bigint not null,
    awaiting_delivery   bigint not null,
    failed_deliveries   bigint not null,
    last_failure        text,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    version             bigint not null,
    transaction_id      xid8 not null,
    position            bigint not null
) with (fillfactor = 70); -- a row per chat, rewritten with every page that touches it
-- Chats that an operator has, and chats in the middle of a workflow. Not by updated_at: every event
-- changes that, and while an index holds a column that changes, each update of the row adds an entry
-- to every index of the table. The active chats are few, so sorting them costs nothing.
create index conversations_active on readmodel.conversations (bot)
    where handler = 'person' or workflow is not null and step not in ('completed', 'cancelled', 'expired', 'handed_over');
comment on table readmodel.conversations is 'The current state of every chat, one row each, and of each bot''s own stream.';
comment on column readmodel.conversations.stream_id is 'The stream the row is folded from.';
comment on column readmodel.conversations.bot is 'Name of the bot.';
comment on column readmodel.conversations.chat_id is 'Telegram''s chat id; null for the bot''s own stream.';
comment on column readmodel.conversations.chat_type is 'private, group, supergroup or channel; null until a message told it.';
comment on column readmodel.conversations.customer is 'Name of who last wrote, or the group''s title.';
comment on column readmodel.conversations.username is 'Telegram user name of who last wrote, without @.';
comment on column readmodel.conversations.language is 'IETF language tag of the customer''s app.';
comment on column readmodel.conversations.handler is 'Who answers: bot or person.';
comment on column readmodel.conversations.blocked is 'True while the customer has blocked the bot or removed it.';
comment on column readmodel.conversations.workflow is 'The running workflow, or the last one ended; null when there was none.';
comment on column readmodel.conversations.step is 'Its step, as the bot''s knowledge names it: initial at the beginning, and at the end completed, cancelled, expired or handed_over.';
comment on column readmodel.conversations.collected is 'What the workflow has collected, by field.';
comment on column readmodel.conversations.workflow_started_at is 'When the workflow began.';
comment on column readmodel.conversations.paused is 'The workflow that was set aside for the running one, with its step and what it collected; null when there is none.';
comment on column readmodel.conversations.last_intent is 'What the bot last took the customer to want: an intent of its knowledge, or unknown, start, help, cancel, back, file.';
comment on column readmodel.conversations.last_message is 'The customer''s last text or caption; a NUL stands as U+2400.';
comment on column readmodel.conversations.last_message_at is 'When it was sent.';
comment on column readmodel.conversations.last_reply is 'The last text decided to be sent to the customer.';
comment on column readmodel.conversations.last_reply_at is 'When that was decided.';
comment on column readmodel.conversations.messages is 'Messages from the customer.';
comment on column readmodel.conversations.replies is 'Messages to the customer that arrived.';
comment on column readmodel.conversations.unread is 'Messages from the customer since anybody last answered.';
comment on column readmodel.conversations.awaiting_delivery is 'Messages to the customer decided and not yet known to have arrived.';
comment on column readmodel.conversations.failed_deliveries is 'Messages to the customer that were refused, given up, or whose fate is unknown.';
comment on column readmodel.conversations.last_failure is 'Why the last of them failed, or the last call to another system.';
comment on column readmodel.conversations.created_at is 'When the chat began.';
comment on column readmodel.conversations.updated_at is 'When its last event occurred.';
comment on column readmodel.conversations.version is 'Version of the event that last changed the row.';
comment on column readmodel.conversations.transaction_id is 'transaction_id of that event.';
comment on column readmodel.conversations.position is 'position of that event.';

create table readmodel.tickets (
    ticket_id                  text collate "C" primary key,
    stream_id                  text collate "C" not null,
    bot                        text not null,
    chat_id                    bigint not null,
    status                     text not null,
    priority                   text not null,
    reason                     text not null,
    subject                    text not null,
    tags                       text[] not null default '{}',
    assignee                   text,
    claimed_by                 text,
    claimed_until              timestamptz,
    fence                      bigint not null default 0,
    opened_at                  timestamptz not null,
    due_at                     timestamptz not null,
    resolve_by                 timestamptz,
    first_reply_at             timestamptz,
    resolved_at                timestamptz,
    first_response_breached_at timestamptz,
    resolution_breached_at     timestamptz,
    reopened                   integer not null,
    escalations                integer not null,
    external_system            text,
    external_state             text check (external_state in ('pending', 'filed', 'failed')),
    external_id                text,
    external_delivery          text,
    updated_at                 timestamptz not null,
    version                    bigint not null,
    transaction_id             xid8 not null,
    position                   bigint not null
) with (fillfactor = 70);
-- The tickets of one chat.
create index tickets_stream on readmodel.tickets (stream_id);
-- Open tickets by due time, for the queue and for overdue ones.
create index tickets_open on readmodel.tickets (due_at) where status in ('open', 'assigned');
comment on table readmodel.tickets is 'Tickets: cases for an operator, one row each.';
comment on column readmodel.tickets.ticket_id is '<bot>:<chat id>#<number of the ticket in this chat>.';
comment on column readmodel.tickets.stream_id is 'The chat''s stream.';
comment on column readmodel.tickets.bot is 'Name of the bot.';
comment on column readmodel.tickets.chat_id is 'Telegram''s chat id.';
comment on column readmodel.tickets.status is 'open, assigned, resolved or handed_back (to the bot).';
comment on column readmodel.tickets.priority is 'urgent, high, normal or low.';
comment on column readmodel.tickets.reason is 'Why a person is needed: a rule''s name, failed, asked and the like by the bot''s knowledge, taken_over by an operator who claimed the chat, or an operator''s words.';
comment on column readmodel.tickets.subject is 'The customer''s words that led to it.';
comment on column readmodel.tickets.tags is 'What operators have tagged it with, in order.';
comment on column readmodel.tickets.assignee is 'The operator it is assigned to; null while it is not assigned.';
comment on column readmodel.tickets.claimed_by is 'The operator who claimed it last; null when nobody did, or it was released or closed. The claim runs until claimed_until.';
comment on column readmodel.tickets.claimed_until is 'When that claim runs out, or has; nothing marks that moment.';
comment on column readmodel.tickets.fence is 'Number of that claim in its chat; 0 when nobody claimed it.';
comment on column readmodel.tickets.opened_at is 'When it was opened.';
comment on column readmodel.tickets.due_at is 'When a person must have replied first, by priority, in business hours.';
comment on column readmodel.tickets.resolve_by is 'When a person must have closed the case; null for cases from before there was such a time.';
comment on column readmodel.tickets.first_reply_at is 'When a person first replied; null until then.';
comment on column readmodel.tickets.resolved_at is 'When it was last resolved; null while it is not.';
comment on column readmodel.tickets.first_response_breached_at is 'When nobody had replied by due_at; null while that has not happened. A reopened case begins anew.';
comment on column readmodel.tickets.resolution_breached_at is 'When the case was still open at resolve_by; null while that has not happened. A reopened case begins anew.';
comment on column readmodel.tickets.reopened is 'How often it was reopened.';
comment on column readmodel.tickets.escalations is 'How often its priority was raised, by a rule or by a person.';
comment on column readmodel.tickets.external_system is 'The other desk that keeps the case, too: zendesk; null when none does.';
comment on column readmodel.tickets.external_state is 'pending until that desk has it, then filed; failed when it refused it or an operator must decide. Null when no other desk keeps it.';
comment on column readmodel.tickets.external_id is 'Its number at that desk; null until it is filed.';
comment on column readmodel.tickets.external_delivery is 'The delivery that files it there: `chatledger deliveries show` tells how that stands.';
comment on column readmodel.tickets.updated_at is 'When its last event occurred.';
comment on column readmodel.tickets.version is 'Version of the event that last changed the row.';
comment on column readmodel.tickets.transaction_id is 'transaction_id of that event.';
comment on column readmodel.tickets.position is 'position of that event.';

-- A claim that was abandoned shows as none as soon as it has run out.
create view readmodel.ticket_queue as
select ticket_id, bot, chat_id, priority, status, assignee, reason, subject,
       opened_at, now() - opened_at as waiting, due_at,
       first_reply_at is null and due_at < now() as overdue,
       external_system, external_state, external_id,
       resolve_by, coalesce(resolve_by < now(), false) as resolution_overdue,
       tags, case when claimed_until > now() then claimed_by end as claimed_by
from readmodel.tickets
where status in ('open', 'assigned')
order by array_position(array['urgent', 'high', 'normal', 'low'], priority), due_at, ticket_id;
comment on view readmodel.ticket_queue is 'Open and assigned tickets, most urgent first, then by due time.';
comment on column readmodel.ticket_queue.ticket_id is 'See readmodel.tickets.';
comment on column readmodel.ticket_queue.bot is 'Name of the bot.';
comment on column readmodel.ticket_queue.chat_id is 'Telegram''s chat id.';
comment on column readmodel.ticket_queue.priority is 'urgent, high, normal or low.';
comment on column readmodel.ticket_queue.status is 'open or assigned.';
comment on column readmodel.ticket_queue.assignee is 'The operator it is assigned to; null while it is not assigned.';
comment on column readmodel.ticket_queue.reason is 'Why a person is needed.';
comment on column readmodel.ticket_queue.subject is 'The customer''s words that led to it.';
comment on column readmodel.ticket_queue.opened_at is 'When it was opened.';
comment on column readmodel.ticket_queue.waiting is 'How long it has been open.';
comment on column readmodel.ticket_queue.due_at is 'When a person must have replied.';
comment on column readmodel.ticket_queue.overdue is 'True when that time has passed and nobody has replied.';
comment on column readmodel.ticket_queue.external_system is 'The other desk that keeps the case, too; null when none does.';
comment on column readmodel.ticket_queue.external_state is 'pending, filed or failed there.';
comment on column readmodel.ticket_queue.external_id is 'Its number there.';
comment on column readmodel.ticket_queue.resolve_by is 'When a person must have closed the case.';
comment on column readmodel.ticket_queue.resolution_overdue is 'True when that time has passed.';
comment on column readmodel.ticket_queue.tags is 'What operators have tagged it with.';
comment on column readmodel.ticket_queue.claimed_by is 'The operator whose claim is valid now; null if there is none.';

-- One row per message in either direction. Rows come in the order of time and are changed within
-- seconds, mostly by the page that brings the answer; an index on a column that changes would
-- cost an entry for each change.
create table readmodel.messages (
    message_id     text collate "C" primary key,
    stream_id      text collate "C" not null,
    number         bigint not null,
    bot            text not null,
    chat_id        bigint not null,
    direction      text not null check (direction in ('in', 'out')),
    kind           text not null,
    at             timestamptz not null,
    sent_at        timestamptz,
    telegram_id    bigint,
    written_by     text not null,
    author         text,
    text           text,
    language       text,
    intent         text,
    confidence     double precision,
    knowledge      text,
    workflow       text,
    from_step      text,
    step           text,
    answered_by    text,
    answered_at    timestamptz,
    handed_over    text,
    answers        text collate "C",
    backlog        boolean not null,
    model_asked    boolean not null,
    over_limit     boolean not null,
    late           boolean not null,
    album_part     boolean not null,
    delivery       text,
    delivered_at   timestamptz,
    failure        text,
    version        bigint not null,
    transaction_id xid8 not null,
    position       bigint not null,
    -- Clocks of two machines may disagree; nobody is answered before they write.
    latency        interval generated always as (greatest(answered_at - at, interval '0')) stored,
    day            date generated always as ((at at time zone 'UTC')::date) stored
) with (fillfactor = 85);
create index messages_stream on readmodel.messages (stream_id, number);
-- Rows of one day lie together: their place is found in an index of a few pages.
create index messages_day on readmodel.messages using brin (day) with (autosummarize = true);
comment on table readmodel.messages is 'Every message of every chat, in both directions, with what the bot made of it and what became of it; pressed buttons and edits, too.';
comment on column readmodel.messages.message_id is 'Of one received: its stream and number, such as chat-demo:42/17. Of one sent: its delivery, which `chatledger deliveries show` knows.';
comment on column readmodel.messages.stream_id is 'The stream the row is folded from.';
comment on column readmodel.messages.number is 'Version of its event in the stream: the order of a chat''s messages.';
comment on column readmodel.messages.bot is 'Name of the bot.';
comment on column readmodel.messages.chat_id is 'Telegram''s chat id.';
comment on column readmodel.messages.direction is 'in: from the customer. out: to them.';
comment on column readmodel.messages.kind is 'text, button or edit, or what it carries: photo, document, voice and so on, as Telegram calls it.';
comment on column readmodel.messages.at is 'When it was received, or decided upon.';
comment on column readmodel.messages.sent_at is 'When the customer sent it, by Telegram''s clock, in whole seconds; earlier than at when it waited for us. Null of those sent out.';
comment on column readmodel.messages.telegram_id is 'Telegram''s number of the message in the chat; of an edit or a button, that of the message it belongs to; null until it is delivered.';
comment on column readmodel.messages.written_by is 'Of one received: customer, or bot when another bot in the group wrote it. Of one sent: rule, model or person.';
comment on column readmodel.messages.author is 'Name of the customer or the person; null when the bot wrote it.';
comment on column readmodel.messages.text is 'Text or caption; the whole new text of an edit, the data of a button; null when there is none.';
comment on column readmodel.messages.language is 'Language that the bot took it to be in; null when it was not looked at.';
comment on column readmodel.messages.intent is 'What the bot took the customer to want, as its knowledge calls it, or unknown, start, help, cancel, back, file, answer (to a workflow''s question), button, correction, backlog, too_fast; null when it was not looked at.';
comment on column readmodel.messages.confidence is 'How sure the bot was of the intent, 0 to 1; of unknown, of the intent it came closest to.';
comment on column readmodel.messages.knowledge is 'Hash of the knowledge by which it was understood.';
comment on column readmodel.messages.workflow is 'The workflow that it moved; null when it moved none.';
comment on column readmodel.messages.from_step is 'The step it found the workflow at; null when it began it.';
comment on column readmodel.messages.step is 'The step it led to: one that waits for the customer or for a tool, or completed, cancelled, expired, handed_over.';
comment on column readmodel.messages.answered_by is 'Who answered it first: rule, model, person, or nobody. Null of those sent out. What the bot says while it fetches a person is no answer.';
comment on column readmodel.messages.answered_at is 'When the first answer was decided; null while there is none.';
comment on column readmodel.messages.handed_over is 'Why a person was fetched for it; null when none was.';
comment on column readmodel.messages.answers is 'message_id of the one that it answers; null when it answers none in particular, as a person''s does.';
comment on column readmodel.messages.backlog is 'It had waited too long, and was answered together with others.';
comment on column readmodel.messages.model_asked is 'A model was asked about it, or told of it while it was busy with the one before.';
comment on column readmodel.messages.over_limit is 'The chat wrote faster than its limit: kept, not answered.';
comment on column readmodel.messages.late is 'It came after messages that were sent later, or after its own edit, and moved no workflow.';
comment on column readmodel.messages.album_part is 'A part of an album that is answered with another part of it: the first, or the one that has the words.';
comment on column readmodel.messages.delivery is 'Of one sent: waiting, then sent, refused, unknown (it may have arrived), dead (given up for now) or skipped. Null of those received.';
comment on column readmodel.messages.delivered_at is 'When it was known to have arrived.';
comment on column readmodel.messages.failure is 'Why it was not delivered when that was last tried; null when it was.';
comment on column readmodel.messages.version is 'Version of the event that last changed the row.';
comment on column readmodel.messages.transaction_id is 'transaction_id of that event in the feed.';
comment on column readmodel.messages.position is 'position of that event in the feed.';
comment on column readmodel.messages.latency is 'From receiving it to the first answer.';
comment on column readmodel.messages.day is 'Day of at, in UTC: with it in the where clause, only the rows of those days are read.';

-- One row per chat and day on which something was said or done in it. A chat's day never goes back.
create table readmodel.chat_days (
    chat_day         text collate "C" primary key,
    stream_id        text collate "C" not null,
    bot              text not null,
    chat_id          bigint not null,
    day              date not null,
    began            boolean not null,
    with_person      boolean not null,
    messages_in      bigint not null,
    replies_rule     bigint not null,
    replies_model    bigint not null,
    replies_person   bigint not null,
    hand_overs       jsonb not null,
    reopened         bigint not null,
    resolved         bigint not null,
    late_responses   bigint not null,
    late_resolutions bigint not null,
    opt_outs         bigint not null,
    returns          bigint not null,
    model_answers    bigint not null,
    model_tokens     bigint not null,
    model_cost_micros bigint not null,
    first_responses  double precision[] not null,
    resolutions      double precision[] not null,
    known            boolean not null,
    blocked          boolean not null,
    ticket_since     timestamptz,
    awaited_since    timestamptz,
    version          bigint not null,
    transaction_id   xid8 not null,
    position         bigint not null
) with (fillfactor = 70); -- rewritten with every page that touches the chat on that day
create unique index chat_days_stream on readmodel.chat_days (stream_id, day);
create index chat_days_day on readmodel.chat_days using brin (day) with (autosummarize = true);
comment on table readmodel.chat_days is 'What happened in each chat on each day, in UTC; readmodel.daily sums it up. A chat''s day never goes back, whatever clocks say.';
comment on column readmodel.chat_days.chat_day is 'The stream and the day: chat-demo:42/2026-11-21.';
comment on column readmodel.chat_days.stream_id is 'The stream the row is folded from.';
comment on column readmodel.chat_days.bot is 'Name of the bot.';
comment on column readmodel.chat_days.chat_id is 'Telegram''s chat id.';
comment on column readmodel.chat_days.day is 'The day, in UTC.';
comment on column readmodel.chat_days.began is 'The customer wrote for the first time.';
comment on column readmodel.chat_days.with_person is 'A person had the chat, or was fetched, at some time of the day.';
comment on column readmodel.chat_days.messages_in is 'Messages and pressed buttons of customers.';
comment on column readmodel.chat_days.replies_rule is 'Messages that the bot''s rules wrote.';
comment on column readmodel.chat_days.replies_model is 'Messages that a model wrote.';
comment on column readmodel.chat_days.replies_person is 'Messages that people wrote.';
comment on column readmodel.chat_days.hand_overs is 'How often a person was fetched, by reason: {"asked": 1}.';
comment on column readmodel.chat_days.reopened is 'Cases opened again.';
comment on column readmodel.chat_days.resolved is 'Cases closed.';
comment on column readmodel.chat_days.late_responses is 'Cases to which nobody had replied when it was due.';
comment on column readmodel.chat_days.late_resolutions is 'Cases that were not closed when it was due.';
comment on column readmodel.chat_days.opt_outs is 'How often the customer blocked the bot or removed it.';
comment on column readmodel.chat_days.returns is 'How often the customer came back after that.';
comment on column readmodel.chat_days.model_answers is 'Answers of a model, also those that were held back, or of no use any more.';
comment on column readmodel.chat_days.model_tokens is 'Tokens of their questions and answers.';
comment on column readmodel.chat_days.model_cost_micros is 'What they cost, in millionths of what the bot''s prices are in.';
comment on column readmodel.chat_days.first_responses is 'Seconds from opening or reopening a case to the first reply of a person, of each such reply of the day.';
comment on column readmodel.chat_days.resolutions is 'Seconds from opening or reopening a case to closing it, of each closed on the day.';
comment on column readmodel.chat_days.known is 'The customer has written, that day or earlier.';
comment on column readmodel.chat_days.blocked is 'At the end of the day the customer did not want messages from the bot.';
comment on column readmodel.chat_days.ticket_since is 'Since when the case has been open that was open at the end of the day; null when none was.';
comment on column readmodel.chat_days.awaited_since is 'Since when a person''s first reply had been awaited at the end of the day; null when none was.';
comment on column readmodel.chat_days.version is 'Version of the event that last changed the row.';
comment on column readmodel.chat_days.transaction_id is 'transaction_id of that event in the feed.';
comment on column readmodel.chat_days.position is 'position of that event in the feed.';

-- A condition on bot and day is handed down to each part, so that only those days are read; joins
-- would not do that.
create view readmodel.daily as
select bot, day,
       sum(chats)::bigint as conversations,
       sum(began)::bigint as began,
       sum(alone)::bigint as without_person,
       round(sum(alone) / nullif(sum(chats), 0), 4) as without_person_share,
       sum(messages_in)::bigint as messages_in,
       sum(replies_rule)::bigint as replies_rule,
       sum(replies_model)::bigint as replies_model,
       sum(replies_person)::bigint as replies_person,
       coalesce(sum(times), 0)::bigint as hand_overs,
       coalesce(jsonb_object_agg(reason, times) filter (where reason is not null), '{}') as hand_over_reasons,
       sum(reopened)::bigint as reopened,
       sum(resolved)::bigint as resolved,
       make_interval(secs => percentile_cont(0.5) within group (order by response)) as first_response_p50,
       make_interval(secs => percentile_cont(0.9) within group (order by response)) as first_response_p90,
       make_interval(secs => percentile_cont(0.95) within group (order by response)) as first_response_p95,
       make_interval(secs => percentile_cont(0.5) within group (order by resolution)) as resolution_p50,
       make_interval(secs => percentile_cont(0.9) within group (order by resolution)) as resolution_p90,
       make_interval(secs => percentile_cont(0.95) within group (order by resolution)) as resolution_p95,
       sum(late_responses)::bigint as late_responses,
       sum(late_resolutions)::bigint as late_resolutions,
       sum(opt_outs)::bigint as opt_outs,
       sum(returns)::bigint as returns,
       sum(model_answers)::bigint as model_answers,
       sum(model_tokens)::bigint as model_tokens,
       round(sum(model_cost_micros) / 1000000, 4) as model_cost
from (
    select bot, day, count(*) filter (where messages_in > 0) as chats, count(*) filter (where began) as began,
           count(*) filter (where messages_in > 0 and not with_person) as alone,
           sum(messages_in) as messages_in, sum(replies_rule) as replies_rule, sum(replies_model) as replies_model, sum(replies_person) as replies_person,
           sum(reopened) as reopened, sum(resolved) as resolved, sum(late_responses) as late_responses, sum(late_resolutions) as late_resolutions,
           sum(opt_outs) as opt_outs, sum(returns) as returns,
           sum(model_answers) as model_answers, sum(model_tokens) as model_tokens, sum(model_cost_micros) as model_cost_micros,
           null::text as reason, null::numeric as times, null::double precision as response, null::double precision as resolution
    from readmodel.chat_days group by bot, day
    union all
    select bot, day, 0 as chats, 0 as began, 0 as alone, 0 as messages_in, 0 as replies_rule, 0 as replies_model, 0 as replies_person,
           0 as reopened, 0 as resolved, 0 as late_responses, 0 as late_resolutions, 0 as opt_outs, 0 as returns,
           0 as model_answers, 0 as model_tokens, 0 as model_cost_micros,
           reason as reason, sum(times::bigint) as times, null::double precision as response, null::double precision as resolution
    from readmodel.chat_days, jsonb_each_text(hand_overs) as h (reason, times) group by bot, day, reason
    union all
    select bot, day, 0 as chats, 0 as began, 0 as alone, 0 as messages_in, 0 as replies_rule, 0 as replies_model, 0 as replies_person,
           0 as reopened, 0 as resolved, 0 as late_responses, 0 as late_resolutions, 0 as opt_outs, 0 as returns,
           0 as model_answers, 0 as model_tokens, 0 as model_cost_micros,
           null::text as reason, null::numeric as times, seconds as response, null::double precision as resolution
    from readmodel.chat_days, unnest(first_responses) as seconds
    union all
    select bot, day, 0 as chats, 0 as began, 0 as alone, 0 as messages_in, 0 as replies_rule, 0 as replies_model, 0 as replies_person,
           0 as reopened, 0 as resolved, 0 as late_responses, 0 as late_resolutions, 0 as opt_outs, 0 as returns,
           0 as model_answers, 0 as model_tokens, 0 as model_cost_micros,
           null::text as reason, null::numeric as times, null::double precision as response, seconds as resolution
    from readmodel.chat_days, unnest(resolutions) as seconds
) parts
group by bot, day;
comment on view readmodel.daily is 'Each bot''s day, in UTC. Give the days you want in the where clause.';
comment on column readmodel.daily.bot is 'Name of the bot.';
comment on column readmodel.daily.day is 'The day, in UTC.';
comment on column readmodel.daily.conversations is 'Chats in which the customer wrote or pressed a button.';
comment on column readmodel.daily.began is 'Chats in which they wrote for the first time.';
comment on column readmodel.daily.without_person is 'Conversations in which no person had a part that day.';
comment on column readmodel.daily.without_person_share is 'Their share of the conversations, 0 to 1; null when there were none.';
comment on column readmodel.daily.messages_in is 'Messages and pressed buttons of customers.';
comment on column readmodel.daily.replies_rule is 'Messages that the bot''s rules wrote.';
comment on column readmodel.daily.replies_model is 'Messages that a model wrote.';
comment on column readmodel.daily.replies_person is 'Messages that people wrote.';
comment on column readmodel.daily.hand_overs is 'How often a person was fetched.';
comment on column readmodel.daily.hand_over_reasons is 'How often for which reason: {"asked": 3, "not_understood": 1}.';
comment on column readmodel.daily.reopened is 'Cases opened again.';
comment on column readmodel.daily.resolved is 'Cases closed.';
comment on column readmodel.daily.first_response_p50 is 'Median time from opening a case to the first reply of a person, of the first replies of the day.';
comment on column readmodel.daily.first_response_p90 is '90th percentile of it.';
comment on column readmodel.daily.first_response_p95 is '95th percentile of it.';
comment on column readmodel.daily.resolution_p50 is 'Median time from opening a case to closing it, of those closed on the day.';
comment on column readmodel.daily.resolution_p90 is '90th percentile of it.';
comment on column readmodel.daily.resolution_p95 is '95th percentile of it.';
comment on column readmodel.daily.late_responses is 'Cases to which nobody had replied when it was due.';
comment on column readmodel.daily.late_resolutions is 'Cases that were not closed when it was due.';
comment on column readmodel.daily.opt_outs is 'How often customers blocked the bot or removed it.';
comment on column readmodel.daily.returns is 'How often customers came back after that.';
comment on column readmodel.daily.model_answers is 'Answers of a model, also those that were held back, or of no use any more.';
comment on column readmodel.daily.model_tokens is 'Tokens of their questions and answers.';
comment on column readmodel.daily.model_cost is 'What they cost, in what the bot''s prices are in.';

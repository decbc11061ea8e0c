-- +goose Up
create schema eventstore;
comment on schema eventstore is 'What happened, in order, and what is owed to the outside. Written by chatledger only; insert-only except for checkpoints and deliveries.';

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
    transaction_id xid8 not null default pg_current_xact_id(),
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
    -- Optimistic concurrency: of two writers at one expected version, one row gets in.
    primary key (stream_id, version)
) with (
    -- Insert-only: fixed thresholds, so that a table of any size is frozen and its
    -- visibility map kept in equal small steps instead of ever larger ones.
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 200000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 200000
);
-- The feed order. Positions are drawn before commit, so they commit out of order;
-- with the transaction id in front, everything below the oldest running one is final.
create unique index events_feed on eventstore.events (transaction_id, position);
comment on table eventstore.events is 'The ledger: every fact, once, never changed.';
comment on column eventstore.events.position is 'Number drawn from a sequence; together with transaction_id the place in the feed. Gaps mean nothing.';
comment on column eventstore.events.transaction_id is 'The transaction that stored the event; the feed is read in (transaction_id, position) order below the oldest running transaction.';
comment on column eventstore.events.stream_id is 'The stream: chat-<bot>:<chat id> or bot-<bot>.';
comment on column eventstore.events.version is 'Place in the stream, from 1, without gaps.';
comment on column eventstore.events.event_id is 'The event''s own id, UUID version 7.';
comment on column eventstore.events.name is 'Stored name of the event type, for example message_received.';
comment on column eventstore.events.event_version is 'Version of the payload''s shape; older shapes are upcast when read.';
comment on column eventstore.events.payload is 'What happened. {"$base64": "..."} holds a payload that JSONB cannot, such as text with a NUL.';
comment on column eventstore.events.raw is 'The whole update as Telegram sent it, on the event that received it; null elsewhere. {"$base64": "..."} holds the bytes of one that JSONB cannot.';
comment on column eventstore.events.causation_id is 'The event this one answers; null when it came from outside.';
comment on column eventstore.events.correlation_id is 'The event id of the update that began the chain.';
comment on column eventstore.events.actor is 'Who caused it: customer, bot, person:<name>, delivery, operator.';
comment on column eventstore.events.occurred_at is 'When it happened, by the clock of who decided it.';
comment on column eventstore.events.recorded_at is 'When it was written, by the database''s clock.';

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

create table eventstore.checkpoints (
    consumer_group text collate "C" primary key,
    transaction_id xid8 not null default '0',
    position       bigint not null default 0,
    events         bigint not null default 0,
    updated_at     timestamptz not null default now()
) with (fillfactor = 20); -- one hot row per group: leave its page room for in-place versions
comment on table eventstore.checkpoints is 'How far each consumer group has read the feed: the last event whose effects are committed.';
comment on column eventstore.checkpoints.consumer_group is 'Name of the group; renaming a group reads history again.';
comment on column eventstore.checkpoints.transaction_id is 'transaction_id of the last event read.';
comment on column eventstore.checkpoints.position is 'position of the last event read.';
comment on column eventstore.checkpoints.events is 'Events read since the group began.';
comment on column eventstore.checkpoints.updated_at is 'When it last moved.';

create table eventstore.deliveries (
    delivery_id  uuid primary key,
    seq          bigint generated always as identity,
    stream_id    text collate "C" not null,
    version      bigint not null,
    kind         text collate "C" not null,
    destination  text collate "C" not null,
    lane         text collate "C" not null,
    payload      jsonb not null,
    priority     smallint not null default 0,
    state        text collate "C" not null default 'waiting'
                 check (state in ('waiting', 'sending', 'done', 'refused', 'unknown', 'dead')),
    attempts     integer not null default 0,
    unsure       integer not null default 0,
    next_attempt timestamptz not null default now(),
    lease_owner  text collate "C",
    lease_until  timestamptz,
    fence        bigint not null default 0,
    outcome      jsonb,
    reason       text,
    correlation_id uuid not null,
    created_at   timestamptz not null default now(),
    finished_at  timestamptz
) with (fillfactor = 70); -- a row is updated twice or thrice, then never again
-- The head of each lane is found here, and nothing finished is ever looked at.
create index deliveries_lane on eventstore.deliveries (lane, seq) where state in ('waiting', 'sending');
create index deliveries_due on eventstore.deliveries (destination, priority desc, seq) where state = 'waiting';
create index deliveries_leased on eventstore.deliveries (lease_until) where state = 'sending';
create index deliveries_stream on eventstore.deliveries (stream_id, version);
comment on table eventstore.deliveries is 'Everything that leaves the system: intent, attempts and outcome, one row per effect.';
comment on column eventstore.deliveries.delivery_id is 'The event that asked for the effect.';
comment on column eventstore.deliveries.seq is 'Order of the row; effects of one lane go out in this order.';
comment on column eventstore.deliveries.stream_id is 'Stream of the event that asked for it.';
comment on column eventstore.deliveries.version is 'Version of the event that asked for it.';
comment on column eventstore.deliveries.kind is 'What is to be done, for example telegram.sendMessage.';
comment on column eventstore.deliveries.destination is 'Where to, for example telegram:demo; destinations do not wait for each other.';
comment on column eventstore.deliveries.lane is 'Effects of one lane go out one after the other; lanes do not wait for each other.';
comment on column eventstore.deliveries.payload is 'What the sender needs.';
comment on column eventstore.deliveries.priority is 'Higher goes first among lanes that are due.';
comment on column eventstore.deliveries.state is 'waiting, sending, then done, refused (the other side said no), unknown (it may have arrived) or dead (given up).';
comment on column eventstore.deliveries.attempts is 'Attempts begun.';
comment on column eventstore.deliveries.unsure is 'Attempts that may have arrived although nobody heard so; a repeat after one may be a double.';
comment on column eventstore.deliveries.next_attempt is 'Not before this time.';
comment on column eventstore.deliveries.lease_owner is 'The process that is sending it.';
comment on column eventstore.deliveries.lease_until is 'When another may take it over.';
comment on column eventstore.deliveries.fence is 'Number of the lease; a result under an older number is refused.';
comment on column eventstore.deliveries.outcome is 'What the other side answered, for example the message id.';
comment on column eventstore.deliveries.reason is 'Why it failed, or was last put off.';
comment on column eventstore.deliveries.correlation_id is 'The update that began the chain.';
comment on column eventstore.deliveries.created_at is 'When the effect was decided upon.';
comment on column eventstore.deliveries.finished_at is 'When the outcome was known.';

create table eventstore.quarantine (
    id          bigint generated always as identity primary key,
    bot         text not null,
    body        bytea not null,
    digest      bytea not null,
    reason      text not null,
    received_at timestamptz not null default now(),
    times       integer not null default 1,
    unique (bot, digest)
);
comment on table eventstore.quarantine is 'Bodies that came with the right secret and could not be read, kept byte by byte.';
comment on column eventstore.quarantine.id is 'Number of the row.';
comment on column eventstore.quarantine.bot is 'The bot it was posted to.';
comment on column eventstore.quarantine.body is 'The bytes as received.';
comment on column eventstore.quarantine.digest is 'SHA-256 of the body: the same body again is counted, not stored again.';
comment on column eventstore.quarantine.reason is 'What was wrong with it.';
comment on column eventstore.quarantine.received_at is 'When it first came.';
comment on column eventstore.quarantine.times is 'How often it came.';

-- +goose StatementBegin
create function eventstore.require(holds boolean, what text) returns boolean language plpgsql as $$
begin
    if not holds then
        raise exception '%', what using errcode = 'CL001';
    end if;
    return true;
end $$;
-- +goose StatementEnd
comment on function eventstore.require is 'Ends the transaction when something that must hold does not.';

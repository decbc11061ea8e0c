-- +goose Up
-- The tables that a rebuild folds into, and those it replaced, stand in schemas that are always
-- there: a process that rebuilds needs no right to make schemas, with which it could put one in
-- the way of whoever administers the database.
create schema readmodel_rebuild;
comment on schema readmodel_rebuild is 'Tables that are being folded anew, until they take the place of the live ones.';
create schema readmodel_previous;
comment on schema readmodel_previous is 'Tables that the last rebuild of each replaced, for chatledger rebuild --rollback.';

-- +goose StatementBegin
do $$
declare
    old record;
begin
    for old in
        select n.nspname as kept, c.relname as name from pg_namespace n join pg_class c on c.relnamespace = n.oid
        where c.relkind = 'r' and n.nspname = 'readmodel_previous_' || c.relname
    loop
        execute format('alter table %I.%I set schema readmodel_previous', old.kept, old.name);
        execute format('drop schema %I', old.kept);
    end loop;
    for old in select nspname as kept from pg_namespace where nspname like 'readmodel\_rebuild\_%' loop
        execute format('drop schema %I cascade', old.kept); -- of a rebuild that was interrupted
    end loop;
end $$;
-- +goose StatementEnd

-- Where the removal of each bot's updates has come to. The feed is walked once, however often it runs.
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
    before := least(before, now() - interval '1 day');
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
comment on function eventstore.remove_updates is 'Removes the updates, as Telegram sent them, from the next events of a bot that are older than a time, and than a day. What the events say stays.';
revoke execute on function eventstore.remove_updates from public;

comment on column eventstore.events.raw is 'The whole update as Telegram sent it, on the event that received it; null elsewhere. {"$base64": "..."} holds the bytes of one that JSONB cannot, {"$removed": true} stands for one that was not kept any longer.';
-- An update that is removed leaves a dead row behind. Like new rows they are cleared away in steps of one
-- size, and not when a part of the table has come together.
alter table eventstore.events set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200000);

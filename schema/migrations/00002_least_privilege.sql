-- What the app's role needed to own tables and to create objects for is done by functions that run
-- with the rights of the schema's owner. What processes agree upon by advisory locks, which any role
-- may take, is agreed upon in a table that only the app's role can write.

-- +goose Up

create table eventstore.locks (
    name          text collate "C" primary key,
    holder        text collate "C" not null,
    pid           integer not null,
    backend_start timestamptz not null,
    taken_at      timestamptz not null default now()
);
comment on table eventstore.locks is 'Locks that sessions of the program hold. A lock is free when it has no row, or the session of its row has ended.';
comment on column eventstore.locks.name is 'What is locked, for example rebuild tickets.';
comment on column eventstore.locks.holder is 'Application name of the session that holds it.';
comment on column eventstore.locks.pid is 'Server process of that session.';
comment on column eventstore.locks.backend_start is 'When that session began, since process ids come again.';
comment on column eventstore.locks.taken_at is 'When it was taken.';

-- Only the pid of a session of another role is shown to a role without pg_read_all_stats: such a
-- session counts as the one that is meant.
create function eventstore.session_exists(of_pid integer, since timestamptz) returns boolean language sql stable as
    'select exists (select from pg_stat_get_activity(of_pid) a where a.backend_start is null or a.backend_start = since)';
comment on function eventstore.session_exists is 'Reports whether the session with a pid, begun at a time, has not ended.';

-- +goose StatementBegin
create function eventstore.try_lock(of_name text) returns boolean language sql as $$
    with taken as (
        insert into eventstore.locks as l (name, holder, pid, backend_start)
        select of_name, current_setting('application_name'), pg_backend_pid(), a.backend_start
        from pg_stat_get_activity(pg_backend_pid()) a
        on conflict (name) do update
            set holder = excluded.holder, pid = excluded.pid, backend_start = excluded.backend_start, taken_at = now()
            where not eventstore.session_exists(l.pid, l.backend_start)
               or (l.pid, l.backend_start) = (excluded.pid, excluded.backend_start)
        returning 1)
    select exists (select from taken)
$$;
-- +goose StatementEnd
comment on function eventstore.try_lock is 'Takes a lock for this session, without waiting. False while another session holds it. Run it in a transaction of its own.';

create function eventstore.unlock(of_name text) returns void language sql as
    'delete from eventstore.locks where name = of_name and pid = pg_backend_pid()';
comment on function eventstore.unlock is 'Gives up a lock that this session holds.';

---------------------------------------------------------------------------------------------------
-- Rebuilds
---------------------------------------------------------------------------------------------------

-- These functions create, swap and drop tables, which PostgreSQL allows to their owner only. A role
-- that owned them, or could create objects beside them, could leave functions and constraints that
-- a later migration or restore runs with other rights. Each function takes the name of a table of
-- readmodel, and leads to nothing but that table and its copies. A fixed search_path without our
-- schemas makes the server write every name in full.

-- The name of a projection's table in a schema, in full and quoted.
-- +goose StatementBegin
create function eventstore.table_of(projection text, of_schema text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from pg_class where relnamespace = 'readmodel'::regnamespace and relname = projection and relkind = 'r') then
        raise exception 'readmodel has no table %', projection using errcode = 'undefined_table';
    end if;
    return format('%I.%I', of_schema, projection);
end $$;
-- +goose StatementEnd
comment on function eventstore.table_of is 'Returns the full name of a table of readmodel, or of its copy in another schema.';

-- LIKE leaves storage options out and gives indexes names of its own.
-- +goose StatementBegin
create function eventstore.prepare_rebuild(projection text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    live   constant text := eventstore.table_of(projection, 'readmodel');
    shadow constant text := eventstore.table_of(projection, 'readmodel_rebuild');
    one    text;
begin
    execute format('drop table if exists %s cascade', shadow);
    execute format('create table %s (like %s including all excluding indexes)', shadow, live);
    -- The statements are all written before the first one runs.
    foreach one in array array(
        select format('alter table %s set (%s)', shadow, string_agg(
            o.prefix || split_part(o.option, '=', 1) || '=' || quote_literal(substr(o.option, strpos(o.option, '=') + 1)), ', '))
        from (select '' as prefix, unnest(c.reloptions) as option from pg_class c where c.oid = live::regclass
              union all
              select 'toast.', unnest(t.reloptions) from pg_class c join pg_class t on t.oid = c.reltoastrelid
              where c.oid = live::regclass) o
        having count(*) > 0
        union all
        select format('alter table %s add constraint %I %s', shadow, conname, pg_get_constraintdef(oid))
        from pg_constraint where conrelid = live::regclass and contype in ('p', 'u', 'x', 'f')
        union all
        select replace(pg_get_indexdef(i.indexrelid), format(' ON %s USING ', live::regclass), format(' ON %s USING ', shadow))
        from pg_index i
        where i.indrelid = live::regclass and not exists (select from pg_constraint c
            where c.conindid = i.indexrelid and c.conrelid = i.indrelid)
        union all
        select format('comment on index readmodel_rebuild.%I is %L', c.relname, obj_description(c.oid, 'pg_class'))
        from pg_index i join pg_class c on c.oid = i.indexrelid
        where i.indrelid = live::regclass and obj_description(c.oid, 'pg_class') is not null)
    loop
        execute one;
    end loop;
    perform eventstore.grant_alike(live, shadow);
end $$;
-- +goose StatementEnd
comment on function eventstore.prepare_rebuild is 'Creates an empty table like the live one in readmodel_rebuild, in the place of what an interrupted rebuild left.';

-- +goose StatementBegin
create function eventstore.grant_alike(live text, other text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    one text;
begin
    foreach one in array array(
        with l as (select * from pg_class where oid = live::regclass), o as (select * from pg_class where oid = other::regclass)
        select statement from (
            select 1, format('revoke all on %s from %s', other, case a.grantee when 0 then 'public' else a.grantee::regrole::text end)
            from o, lateral (select (aclexplode(relacl)).grantee
                union select (aclexplode(attacl)).grantee from pg_attribute where attrelid = o.oid) a
            where a.grantee <> relowner
            union all
            select 2, format('grant %s on %s to %s%s', a.privilege_type, other,
                case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                case when a.is_grantable then ' with grant option' end)
            from l, aclexplode(relacl) a where a.grantee <> relowner
            union all
            select 2, format('grant %s (%I) on %s to %s%s', a.privilege_type, c.attname, other,
                case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                case when a.is_grantable then ' with grant option' end)
            from l join pg_attribute c on c.attrelid = l.oid, aclexplode(c.attacl) a
        ) statements (step, statement) order by step)
    loop
        execute one;
    end loop;
end $$;
-- +goose StatementEnd
comment on function eventstore.grant_alike is 'Gives a table exactly the grants of another one.';

-- +goose StatementBegin
create function eventstore.drop_rebuild(projection text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    execute format('drop table if exists %s', eventstore.table_of(projection, 'readmodel_rebuild'));
end $$;
-- +goose StatementEnd
comment on function eventstore.drop_rebuild is 'Drops the table that a rebuild has folded.';

-- +goose StatementBegin
create function eventstore.analyze_rebuild(projection text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    execute format('analyze %s', eventstore.table_of(projection, 'readmodel_rebuild'));
end $$;
-- +goose StatementEnd
comment on function eventstore.analyze_rebuild is 'Collects the statistics of the table that a rebuild has folded.';

-- Locks are taken in the order in which queries take them: views before the table.
-- +goose StatementBegin
create function eventstore.lock_for_swap(projection text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    live constant text := eventstore.table_of(projection, 'readmodel');
begin
    execute (
        select format('lock table %s in access exclusive mode', string_agg(name, ', ' order by ord, name))
        from (select distinct 1 as ord, v.oid::regclass::text as name
              from pg_depend d join pg_rewrite r on r.oid = d.objid join pg_class v on v.oid = r.ev_class and v.relkind = 'v'
              where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = live::regclass
              union all select 2, live) names);
end $$;
-- +goose StatementEnd
comment on function eventstore.lock_for_swap is 'Locks a live table and the views on it until the end of the transaction.';

-- A view knows its table by number, not by name, so each is pointed at the new table. The last drop
-- is undone: with it the server checks that nothing but views depended on the table.
-- +goose StatementBegin
create function eventstore.swap_tables(projection text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    live     constant text := eventstore.table_of(projection, 'readmodel');
    shadow   constant text := eventstore.table_of(projection, 'readmodel_rebuild');
    previous constant text := eventstore.table_of(projection, 'readmodel_previous');
    one      text;
begin
    if (select count(distinct parts) <> 1
        from unnest(array[live, shadow]) name, lateral (select
            array(select format('%s %s %s', attname, atttypid, attnotnull) from pg_attribute
                where attrelid = name::regclass and attnum > 0 and not attisdropped order by attnum)
            || array(select relname::text from pg_index join pg_class c on c.oid = indexrelid
                where indrelid = name::regclass order by 1)
            || array(select conname || pg_get_constraintdef(oid) from pg_constraint
                where conrelid = name::regclass order by 1) as parts) described) then
        raise exception 'the live table''s columns, indexes or constraints were changed meanwhile; rebuild it again'
            using errcode = 'CL001';
    end if;
    perform eventstore.grant_alike(live, shadow);
    -- The statements are all written before the first one runs.
    foreach one in array array(
        select statement from (
            select 1, format('alter table %s owner to %I', shadow, pg_get_userbyid(relowner))
            from pg_class where oid = live::regclass and pg_get_userbyid(relowner) <> current_user
            union all
            select 2, format('comment on table %s is %L', shadow, obj_description(live::regclass, 'pg_class'))
            union all
            select 3, format('drop table if exists %s', previous)
            union all
            select 4, format('alter table %s set schema readmodel_previous', live)
            union all
            select 5, format('alter table %s set schema readmodel', shadow)
            union all
            select distinct 6, format('create or replace view %s%s as %s', v.oid::regclass,
                ' with (' || array_to_string(v.reloptions, ', ') || ')', pg_get_viewdef(v.oid))
            from pg_depend d join pg_rewrite r on r.oid = d.objid join pg_class v on v.oid = r.ev_class and v.relkind = 'v'
            where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = live::regclass
        ) statements (step, statement) order by step)
    loop
        execute one;
    end loop;
    begin
        execute format('drop table %s', previous);
        raise exception using errcode = 'CL002';
    exception when sqlstate 'CL002' then
        null; -- nothing depends on it; the block's end has brought it back
    end;
end $$;
-- +goose StatementEnd
comment on function eventstore.swap_tables is 'Puts the table that a rebuild has folded in the place of the live one, with its comment, grants and views, and keeps the live one in readmodel_previous.';

-- +goose StatementBegin
create function eventstore.recall_previous(projection text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    shadow   constant text := eventstore.table_of(projection, 'readmodel_rebuild');
    previous constant text := eventstore.table_of(projection, 'readmodel_previous');
begin
    if to_regclass(previous) is null then
        return false;
    end if;
    execute format('drop table if exists %s cascade', shadow);
    execute format('alter table %s set schema readmodel_rebuild', previous);
    return true;
end $$;
-- +goose StatementEnd
comment on function eventstore.recall_previous is 'Moves the table that the last rebuild replaced into readmodel_rebuild, to be swapped again. False when there is none.';

revoke execute on function eventstore.table_of, eventstore.prepare_rebuild, eventstore.grant_alike, eventstore.drop_rebuild,
    eventstore.analyze_rebuild, eventstore.lock_for_swap, eventstore.swap_tables, eventstore.recall_previous from public;

-- The names arrive as settings of the transaction: chatledger.owner, chatledger.app and
-- chatledger.analyst. Statements that would change nothing are skipped, so that the owner,
-- which can neither create nor alter roles, can run this script again after each migration.
do $$
declare
    owner   constant text := current_setting('chatledger.owner');
    app     constant text := current_setting('chatledger.app');
    analyst constant text := current_setting('chatledger.analyst');
    ours    constant text[] := array['eventstore', 'readmodel', 'readmodel_rebuild', 'readmodel_previous'];
    -- Tables whose rows are inserted and never changed.
    history constant text[] := array['events', 'streams'];
    -- Columns of them that only the database fills: with these a row could be put into the past.
    theirs  constant text[] := array['position', 'transaction_id', 'recorded_at', 'created_at'];
    -- Tables that the owner writes, to limit the app.
    limits  constant text[] := array['retention_limit'];
    -- Functions of the server that every role may call, and with which a role that can only read
    -- stops or fills a server: a transaction with an id holds back every consumer, an advisory lock
    -- whoever waits for it, and a large object takes space.
    risky   constant text := '^(pg_(try_)?advisory_.*|pg_current_xact_id|txid_current|pg_logical_emit_message|lo_.*|loread|lowrite)$';
    one     record;
begin
    for one in select name from unnest(array[owner, app, analyst]) name
               where not exists (select from pg_roles where rolname = name) loop
        -- A role without a password cannot log in.
        execute format('create role %I login', one.name);
    end loop;

    -- A role that changes the owner of a table must be a member of the new owner. The app is a member
    -- of the analyst's role, to end sessions of analysts that hold others back.
    for one in select granted, member from (values (owner, current_user::text), (analyst, app)) m (granted, member)
               where member <> granted and not pg_has_role(member, granted, 'usage') loop
        execute format('grant %I to %I', one.granted, one.member);
    end loop;

    -- With this role the app can see how long transactions of other roles have been open.
    if not pg_has_role(app, 'pg_read_all_stats', 'usage') then
        begin
            execute format('grant pg_read_all_stats to %I', app);
        exception when insufficient_privilege then
            raise notice '% may not see who holds a transaction open: as a superuser, grant pg_read_all_stats to it',
                app;
        end;
    end if;

    -- Limits for forgotten sessions; an analyst can raise them for one query. Read-only, because a
    -- transaction that writes gets a transaction id and holds back every consumer. A server process
    -- of the app ends the sessions of analysts that go beyond, so that they are no protection.
    for one in select format('alter role %I set %s = %L', analyst, name, value) as statement
               from (values ('statement_timeout', '60s'), ('idle_in_transaction_session_timeout', '30s'),
                            ('idle_session_timeout', '1h'), ('default_transaction_read_only', 'on')) s (name, value)
               where not exists (select from pg_db_role_setting r, unnest(r.setconfig) c
                                 where r.setdatabase = 0 and r.setrole = analyst::regrole and c like name || '=%') loop
        execute one.statement;
    end loop;

    -- Limits that a role cannot change for itself: connections, and temporary files, which fill the disk.
    if (select rolconnlimit from pg_roles where rolname = analyst) = -1 then
        execute format('alter role %I connection limit 20', analyst);
    end if;
    if not exists (select from pg_db_role_setting r, unnest(r.setconfig) c
                   where r.setdatabase = 0 and r.setrole = analyst::regrole and c like 'temp_file_limit=%') then
        begin
            execute format('alter role %I set temp_file_limit = %L', analyst, '2GB');
        exception when insufficient_privilege then
            raise notice '% may fill the disk with temporary files: as a superuser, alter role % set temp_file_limit = ''2GB''',
                analyst, analyst;
        end;
    end if;

    -- The database: only our roles connect, and only its owner and our owner can create schemas. A
    -- temporary table would give an analyst a transaction id.
    if not has_database_privilege(owner, current_database(), 'create') then
        execute format('grant create on database %I to %I', current_database(), owner);
    end if;
    if not exists (select from pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                   where d.datname = current_database() and a.grantee = owner::regrole
                     and a.privilege_type = 'TEMPORARY') then
        execute format('grant temporary on database %I to %I', current_database(), owner);
        execute format('revoke temporary on database %I from public', current_database());
    end if;
    if has_database_privilege('public', current_database(), 'connect') then
        execute format('grant connect on database %I to %I, %I, %I', current_database(), owner, app, analyst);
        execute format('revoke connect on database %I from public', current_database());
    end if;
    if exists (select from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
               where n.nspname = 'public' and a.grantee = 0 and a.privilege_type = 'CREATE') then
        revoke create on schema public from public; -- as it is from PostgreSQL 15 on
    end if;

    if not has_schema_privilege(owner, 'public', 'create') then
        execute format('grant create on schema public to %I', owner); -- for the table of migrations
    end if;

    -- In this database only, and only by a superuser, who owns these functions.
    for one in select oid::regprocedure as name, proname ~ '^(lo|pg_logical)' as unused from pg_proc
               where pronamespace = 'pg_catalog'::regnamespace and proname ~ risky
                 and has_function_privilege('public', oid, 'execute') loop
        if not (select rolsuper from pg_roles where rolname = current_user) then
            raise notice 'every role may call %, which holds back the bots or fills the disk: run this as a superuser',
                one.name;
            exit;
        end if;
        execute format('revoke execute on function %s from public', one.name);
        if not one.unused then
            execute format('grant execute on function %s to %I, %I', one.name, owner, app);
        end if;
    end loop;

    -- What stands in our schemas was made by migrations: anything else was refused before. The owner
    -- owns all of it. What the app could create, or owned, it could make run code that others run later.
    for one in select nspname as name from pg_namespace where nspname = any(ours) and nspowner <> owner::regrole loop
        execute format('alter schema %I owner to %I', one.name, owner);
    end loop;
    for one in
        select c.oid::regclass as name, c.relkind as kind
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where (n.nspname = any(ours) or c.oid = to_regclass('public.schema_migrations'))
          and c.relkind in ('r', 'p', 'v', 'm')
          and c.relowner <> owner::regrole
        order by c.relkind, c.oid -- tables before the views on them
    loop
        execute format('alter %s %s owner to %I',
            case one.kind when 'v' then 'view' when 'm' then 'materialized view' else 'table' end, one.name, owner);
    end loop;
    for one in select p.oid::regprocedure as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
               where n.nspname = any(ours) and p.proowner <> owner::regrole loop
        execute format('alter routine %s owner to %I', one.name, owner);
    end loop;

    -- The app can insert into the tables of history, but not change them. At no moment does it have
    -- more rights, even if this runs while the app does.
    execute format('grant usage on schema eventstore, readmodel, readmodel_rebuild, readmodel_previous to %I', app);
    execute format('revoke create on schema eventstore, readmodel, readmodel_rebuild, readmodel_previous from %I', app);
    for one in select c.oid::regclass as name, c.relname = any(history) as written_once,
                      c.relname = any(limits) as read_only
               from pg_class c where c.relnamespace = 'eventstore'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') loop
        if one.read_only then
            execute format('revoke insert, update, delete, truncate, references, trigger on %s from %I', one.name, app);
            execute format('grant select on %s to %I', one.name, app);
        elsif one.written_once then
            execute format('revoke insert, update, delete, truncate, references, trigger on %s from %I', one.name, app);
            execute format('grant select, insert (%s) on %s to %I', (
                select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
                where attrelid = one.name and attnum > 0 and not attisdropped and attname <> all (theirs)),
                one.name, app);
        else
            execute format('grant select, insert, update, delete on %s to %I', one.name, app);
        end if;
    end loop;
    execute format('grant execute on all functions in schema eventstore to %I', app);
    execute format('grant select on public.schema_migrations to %I', app);

    -- In the read model it can change rows. A table becomes another one by functions of eventstore.
    for one in select c.oid::regclass as name, c.relkind in ('v', 'm') as derived
               from pg_class c join pg_namespace n on n.oid = c.relnamespace
               where n.nspname = any(ours[2:]) and c.relkind in ('r', 'p', 'v', 'm') loop
        if one.derived then
            execute format('grant select on %s to %I', one.name, app);
        else
            execute format('revoke references, trigger on %s from %I', one.name, app);
            execute format('grant select, insert, update, delete, truncate on %s to %I', one.name, app);
        end if;
    end loop;

    -- The analyst reads.
    execute format('grant usage on schema readmodel to %I', analyst);
    execute format('grant select on all tables in schema readmodel to %I', analyst);

    -- The app can use tables of the next migration before this script has run again. A rebuilt table
    -- gets the rights of the table that it replaces.
    for one in select distinct name from unnest(array[owner, current_user::text]) name loop
        execute format('alter default privileges for role %I in schema eventstore '
            'grant select, insert, update, delete on tables to %I', one.name, app);
        execute format('alter default privileges for role %I in schema eventstore '
            'grant execute on functions to %I', one.name, app);
        execute format('alter default privileges for role %I in schema readmodel '
            'grant select, insert, update, delete, truncate on tables to %I', one.name, app);
        execute format('alter default privileges for role %I in schema readmodel '
            'grant select on tables to %I', one.name, analyst);
    end loop;
end $$;

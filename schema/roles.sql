-- The names arrive as settings of the transaction: chatledger.owner, chatledger.app and
-- chatledger.analyst. Whatever is as it should be already is left alone, so that the owner,
-- who may neither make roles nor set them up, can run this again after each migration.
do $$
declare
    owner   constant text := current_setting('chatledger.owner');
    app     constant text := current_setting('chatledger.app');
    analyst constant text := current_setting('chatledger.analyst');
    ours    constant text[] := array['eventstore', 'readmodel', 'readmodel_rebuild', 'readmodel_previous'];
    -- What is written once and never changed.
    history constant text[] := array['events', 'streams'];
    one     record;
begin
    for one in select name from unnest(array[owner, app, analyst]) name
               where not exists (select from pg_roles where rolname = name) loop
        -- Without a password nobody can log in with one.
        execute format('create role %I login', one.name);
    end loop;

    -- Whoever hands tables over must be a member of who gets them. The owner is one of the app,
    -- because migrations change the read model's tables too.
    for one in select granted, member from (values (app, owner), (owner, current_user::text), (app, current_user::text)) m (granted, member)
               where member <> granted and not pg_has_role(member, granted, 'usage') loop
        execute format('grant %I to %I', one.granted, one.member);
    end loop;

    -- With it the app sees how long other roles' transactions have been open, and since when.
    if not pg_has_role(app, 'pg_read_all_stats', 'usage') then
        begin
            execute format('grant pg_read_all_stats to %I', app);
        exception when insufficient_privilege then
            raise notice '% may not see who holds a transaction open: as a superuser, grant pg_read_all_stats to it', app;
        end;
    end if;

    -- Bounds for what a person may forget; who needs more for one query sets more for it. What has a
    -- transaction id, which a transaction that only reads never gets, would hold every consumer back.
    for one in select format('alter role %I set %s = %L', analyst, name, value) as statement
               from (values ('statement_timeout', '60s'), ('idle_in_transaction_session_timeout', '30s'),
                            ('idle_session_timeout', '1h'), ('default_transaction_read_only', 'on')) s (name, value)
               where not exists (select from pg_db_role_setting r, unnest(r.setconfig) c
                                 where r.setdatabase = 0 and r.setrole = analyst::regrole and c like name || '=%') loop
        execute one.statement;
    end loop;

    -- The database: only its owner and ours may make schemas. A temporary table would give an
    -- analyst a transaction id.
    if not has_database_privilege(owner, current_database(), 'create') then
        execute format('grant create on database %I to %I', current_database(), owner);
    end if;
    if not exists (select from pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                   where d.datname = current_database() and a.grantee = owner::regrole and a.privilege_type = 'TEMPORARY') then
        execute format('grant temporary on database %I to %I', current_database(), owner);
        execute format('revoke temporary on database %I from public', current_database());
    end if;
    if exists (select from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
               where n.nspname = 'public' and a.grantee = 0 and a.privilege_type = 'CREATE') then
        revoke create on schema public from public; -- as it is from PostgreSQL 15 on
    end if;

    if not has_schema_privilege(owner, 'public', 'create') then
        execute format('grant create on schema public to %I', owner); -- there is the table of migrations
    end if;

    for one in select nspname as name from pg_namespace where nspname = any(ours) and nspowner <> owner::regrole loop
        execute format('alter schema %I owner to %I', one.name, owner);
    end loop;

    -- The read model is the app's: it folds tables anew and exchanges them, which is not to be had by
    -- grants. History is the owner's, and so is everything else.
    execute format('grant usage, create on schema readmodel, readmodel_rebuild, readmodel_previous to %I', app);
    execute format('grant usage on schema eventstore to %I', app);
    for one in
        select c.oid::regclass as name, c.relkind as kind,
               case when n.nspname = any(ours[2:]) then app else owner end as should
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where (n.nspname = any(ours) or c.oid = to_regclass('public.schema_migrations')) and c.relkind in ('r', 'p', 'v', 'm')
          and c.relowner <> (case when n.nspname = any(ours[2:]) then app else owner end)::regrole
        order by c.relkind, c.oid -- tables before the views on them
    loop
        execute format('alter %s %s owner to %I',
            case one.kind when 'v' then 'view' when 'm' then 'materialized view' else 'table' end, one.name, one.should);
    end loop;
    for one in select p.oid::regprocedure as name, p.prokind = 'p' as procedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace
               where n.nspname = any(ours) and p.proowner <> owner::regrole loop
        execute format('alter %s %s owner to %I', case when one.procedure then 'procedure' else 'function' end, one.name, owner);
    end loop;

    -- History is not changed: rows are added to it, and there are no other rights. Neither is there a
    -- moment in which there are more, if this runs while the app does.
    for one in select c.oid::regclass as name, c.relname = any(history) as written_once
               from pg_class c where c.relnamespace = 'eventstore'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') loop
        if one.written_once then
            execute format('revoke update, delete, truncate, references, trigger on %s from %I', one.name, app);
            execute format('grant select, insert on %s to %I', one.name, app);
        else
            execute format('grant select, insert, update, delete on %s to %I', one.name, app);
        end if;
    end loop;
    execute format('grant execute on all functions in schema eventstore to %I', app);
    execute format('grant select on public.schema_migrations to %I', app);

    -- The analyst reads.
    execute format('grant usage on schema readmodel to %I', analyst);
    execute format('grant select on all tables in schema readmodel to %I', analyst);

    -- What the next migration makes, whoever runs it, can be used before this has been run again. What
    -- a rebuild makes takes its rights over from the table whose place it takes.
    for one in select distinct name from unnest(array[owner, current_user::text]) name loop
        execute format('alter default privileges for role %I in schema eventstore grant select, insert, update, delete on tables to %I', one.name, app);
        execute format('alter default privileges for role %I in schema eventstore grant execute on functions to %I', one.name, app);
        execute format('alter default privileges for role %I in schema readmodel grant select, insert, update, delete, truncate on tables to %I', one.name, app);
        execute format('alter default privileges for role %I in schema readmodel grant select on tables to %I', one.name, analyst);
    end loop;
    execute format('alter default privileges for role %I in schema readmodel grant select on tables to %I', app, analyst);
end $$;

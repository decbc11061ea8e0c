-- Finds what runs code in our schemas, or says what does, and is not in the list $1. Copies of a
-- table of readmodel are compared under its name.
with ours as (
    select oid, nspname::text as schema, nspowner,
           case when nspname in ('readmodel_rebuild', 'readmodel_previous') then 'readmodel'
                else nspname::text end as listed
    from pg_namespace where nspname in ('eventstore', 'readmodel', 'readmodel_rebuild', 'readmodel_previous')
), owner as (
    select nspowner as oid from ours where schema = 'eventstore'
), tables as (
    select c.oid, c.relkind, c.relowner, n.listed, n.schema, c.relname::text as name
    from pg_class c join ours n on n.oid = c.relnamespace
), object (kind, of, schema, listed, name) as (
    select 'view', '', schema, listed, name from tables where relkind in ('v', 'm')
    union all
    select 'foreign table', '', schema, listed, name from tables where relkind = 'f'
    union all
    select 'index', '', t.schema, t.listed, t.name
    from pg_index i join tables t on t.oid = i.indexrelid where i.indexprs is not null or i.indpred is not null
    union all
    select 'function', '', n.schema, n.listed, format('%I(%s)', p.proname, oidvectortypes(p.proargtypes))
    from pg_proc p join ours n on n.oid = p.pronamespace
    union all
    select 'type', '', n.schema, n.listed, t.typname::text
    from pg_type t join ours n on n.oid = t.typnamespace where t.typtype not in ('c', 'm') and t.typelem = 0
    union all
    select 'operator', '', n.schema, n.listed, o.oprname::text from pg_operator o join ours n on n.oid = o.oprnamespace
    union all
    select 'trigger', g.tgname::text, t.schema, t.listed, t.name
    from pg_trigger g join tables t on t.oid = g.tgrelid where not g.tgisinternal
    union all
    select 'rule', r.rulename::text, t.schema, t.listed, t.name
    from pg_rewrite r join tables t on t.oid = r.ev_class where r.rulename <> '_RETURN' or t.relkind not in ('v', 'm')
    union all
    select 'policy', p.polname::text, t.schema, t.listed, t.name from pg_policy p join tables t on t.oid = p.polrelid
    union all
    select 'constraint', c.conname::text, t.schema, t.listed, t.name
    from pg_constraint c join tables t on t.oid = c.conrelid where c.contype in ('c', 'x', 't')
    union all -- defaults and generated columns that call something
    select 'default', '', t.schema, t.listed, t.name || '.' || a.attname
    from pg_attrdef d join tables t on t.oid = d.adrelid
    join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
    where pg_get_expr(d.adbin, d.adrelid) like '%(%'
), foreign_owner (what, owner) as (
    select schema || '.' || name, relowner from tables where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    union all
    select n.schema || '.' || format('%I(%s)', p.proname, oidvectortypes(p.proargtypes)), p.proowner
    from pg_proc p join ours n on n.oid = p.pronamespace
    union all
    select 'schema ' || schema, nspowner from ours
)
select distinct what from (
    select kind || ' ' || case of when '' then '' else of || ' on ' end || schema || '.' || name as what
    from object
    where kind || ' ' || case of when '' then '' else of || ' on ' end || listed || '.' || name <> all ($1::text[])
    union all
    select what || ' belongs to ' || o.owner::regrole
    from foreign_owner o, owner
    where not pg_has_role(o.owner, owner.oid, 'usage')
) found
order by what

package rebuild

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/projections"
)

// shadowSchema holds the tables that rebuilds fold into, previousSchema those that the
// last rebuilds replaced. Both are always there: who may rebuild need not be allowed to
// make schemas.
const (
	shadowSchema   = "readmodel_rebuild"
	previousSchema = "readmodel_previous"
)

// names are the SQL names of a projection's tables: the live one, the shadow that a
// rebuild folds into, and the previous one, which the last rebuild replaced.
type names struct{ live, shadow, previous string }

func namesOf(p projections.Projection) names {
	in := func(schema string) string { return pgx.Identifier{schema, p.Name()}.Sanitize() }
	return names{in("readmodel"), in(shadowSchema), in(previousSchema)}
}

// prepare makes an empty table like the live one, in the shadows' schema. LIKE
// leaves storage options out and gives indexes names of its own.
func (n names) prepare(ctx context.Context, tx pgx.Tx) error {
	// Without a search path the server writes every name in full.
	_, err := tx.Exec(ctx, `
		set local search_path = '';
		drop table if exists `+n.shadow+` cascade;
		create table `+n.shadow+` (like `+n.live+` including all excluding indexes)`)
	if err != nil {
		return err
	}
	return execute(ctx, tx, `
		select format('alter table %s set (%s)', $2, string_agg(
			o.prefix || split_part(o.option, '=', 1) || '=' ||
			quote_literal(substr(o.option, strpos(o.option, '=') + 1)), ', '))
		from (select '' as prefix, unnest(c.reloptions) as option from pg_class c where c.oid = $1::regclass
		      union all
		      select 'toast.', unnest(t.reloptions) from pg_class c join pg_class t on t.oid = c.reltoastrelid
		      where c.oid = $1::regclass) o
		having count(*) > 0
		union all
		select format('alter table %s add constraint %I %s', $2, conname, pg_get_constraintdef(oid))
		from pg_constraint where conrelid = $1::regclass and contype in ('p', 'u', 'x', 'f')
		union all
		select replace(pg_get_indexdef(i.indexrelid), format(' ON %s USING ', $1::regclass),
			format(' ON %s USING ', $2))
		from pg_index i
		where i.indrelid = $1::regclass and not exists (select from pg_constraint c
			where c.conindid = i.indexrelid and c.conrelid = i.indrelid)
		union all
		select format('comment on index %s.%I is %L', $3, c.relname, obj_description(c.oid, 'pg_class'))
		from pg_index i join pg_class c on c.oid = i.indexrelid
		where i.indrelid = $1::regclass and obj_description(c.oid, 'pg_class') is not null`,
		n.live, n.shadow, shadowSchema)
}

// execute runs the statements that a query writes. $1 and so on are text.
func execute(ctx context.Context, tx pgx.Tx, sql string, args ...any) error {
	rows, err := tx.Query(ctx, sql, append([]any{pgx.QueryExecModeSimpleProtocol}, args...)...)
	if err != nil {
		return err
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

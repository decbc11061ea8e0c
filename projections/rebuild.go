package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/chatledger/chatledger/domain"
)

// Rebuilt is what a rebuild did.
type Rebuilt struct {
	Events int64
	Rows   int64
	At     domain.Position // where the new table stands
	Took   time.Duration
}

const (
	// rebuildPage is how many events are folded in one transaction: it is open for
	// tens of milliseconds, so it does not hold the live consumers back.
	rebuildPage = 5000
	// swapLock is how long the swap waits for queries on the live table to end,
	// while those that come after it queue behind it. It is shorter than the
	// server's deadlock_timeout of 1 s: where a query and the swap wait for each
	// other, it is the swap that yields.
	swapLock = "500ms"
	// swapPause lets the queries through before the swap comes back, at most
	// swapTries times: about a minute in all.
	swapPause = 500 * time.Millisecond
	swapTries = 60
)

// Rebuild folds the feed from its beginning into a new table beside the live one,
// which is read and written meanwhile, and puts it in the live one's place in one
// short transaction. Interrupted, it leaves the live table as it was; the next
// run clears away what is left.
//
// The new table takes over the live one's columns, indexes, constraints, storage
// options, comments, owner and rights, and the views on it. Triggers, policies and
// publications it does not know. Where something else depends on the live table,
// such as a materialized view, it fails and changes nothing.
func Rebuild(ctx context.Context, conn *pgx.Conn, ledger Ledger, p Projection, progress func(events int64)) (Rebuilt, error) {
	schema, table := "readmodel_rebuild_"+p.Name(), pgx.Identifier{p.Name()}.Sanitize()
	b := &rebuild{conn: conn, ledger: ledger, p: p, begun: time.Now(), schema: pgx.Identifier{schema}.Sanitize(),
		shadow: pgx.Identifier{schema}.Sanitize() + "." + table, live: "readmodel." + table}
	if err := b.run(ctx, progress); err != nil {
		return b.done, fmt.Errorf("rebuild %s: %w", p.Name(), explained(err))
	}
	b.done.Took = time.Since(b.begun)
	return b.done, nil
}

// explained adds what the server has to say about an error, such as what depends on a table.
func explained(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Detail != "" {
		return fmt.Errorf("%w: %s", err, refused.Detail)
	}
	return err
}

// rebuild is one run; schema, shadow (the new table) and live are SQL names.
type rebuild struct {
	conn                 *pgx.Conn
	ledger               Ledger
	p                    Projection
	begun                time.Time
	schema, shadow, live string
	done                 Rebuilt
}

func (b *rebuild) run(ctx context.Context, progress func(int64)) error {
	var alone bool
	err := b.conn.QueryRow(ctx, `select pg_try_advisory_lock(hashtextextended('chatledger rebuild ' || $1, 0))`, b.p.Name()).Scan(&alone)
	if err != nil {
		return err
	}
	if !alone {
		return errors.New("another rebuild of it is running; wait for it, or end its process")
	}
	defer func() { // a connection that is lost has let go already
		_, _ = b.conn.Exec(context.WithoutCancel(ctx), `select pg_advisory_unlock(hashtextextended('chatledger rebuild ' || $1, 0))`, b.p.Name())
	}()
	if err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error { return b.prepare(ctx, tx) }); err != nil {
		return err
	}
	if err := b.bulk(ctx, progress); err != nil {
		return err
	}
	if err := b.catchUp(ctx, progress); err != nil {
		return err
	}
	// The queries that come after the swap need its statistics at once.
	if _, err := b.conn.Exec(ctx, `analyze `+b.shadow); err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := b.swap(ctx)
		if err == nil {
			// Counted outside the swap: on a large table it takes a while.
			return b.conn.QueryRow(ctx, `select count(*) from `+b.live).Scan(&b.done.Rows)
		}
		if !passing(err) || try == swapTries {
			return err
		}
		select {
		case <-time.After(swapPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := b.catchUp(ctx, progress); err != nil {
			return err
		}
	}
}

// errAhead: a consumer began to lead the group, behind what was folded already.
var errAhead = errors.New("the live table's consumer is behind the new table; let it catch up, or stop it")

// passing tells whether a swap may succeed a little later: a lock was not to be
// had, two waited for each other, or the live consumer has not come so far.
func passing(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code == "55P03" || refused.Code == "40P01"
	}
	return errors.Is(err, errAhead)
}

// prepare makes an empty table like the live one, in a schema of its own. LIKE
// leaves storage options out and gives indexes names of its own.
func (b *rebuild) prepare(ctx context.Context, tx pgx.Tx) error {
	// Without a search path the server writes every name in full.
	_, err := tx.Exec(ctx, `
		set local search_path = '';
		drop schema if exists `+b.schema+` cascade;
		create schema `+b.schema+`;
		create table `+b.shadow+` (like `+b.live+` including all excluding indexes)`)
	if err != nil {
		return err
	}
	return b.execute(ctx, tx, `
		select format('alter table %s set (%s)', $2, string_agg(o.prefix || split_part(o.option, '=', 1) || '=' || quote_literal(substr(o.option, strpos(o.option, '=') + 1)), ', '))
		from (select '' as prefix, unnest(c.reloptions) as option from pg_class c where c.oid = $1::regclass
		      union all
		      select 'toast.', unnest(t.reloptions) from pg_class c join pg_class t on t.oid = c.reltoastrelid where c.oid = $1::regclass) o
		having count(*) > 0
		union all
		select format('alter table %s add constraint %I %s', $2, conname, pg_get_constraintdef(oid))
		from pg_constraint where conrelid = $1::regclass and contype in ('p', 'u', 'x', 'f')
		union all
		select replace(pg_get_indexdef(i.indexrelid), format(' ON %s USING ', $1::regclass), format(' ON %s USING ', $2))
		from pg_index i
		where i.indrelid = $1::regclass and not exists (select from pg_constraint c where c.conindid = i.indexrelid and c.conrelid = i.indrelid)
		union all
		select format('comment on index %s.%I is %L', $3, c.relname, obj_description(c.oid, 'pg_class'))
		from pg_index i join pg_class c on c.oid = i.indexrelid
		where i.indrelid = $1::regclass and obj_description(c.oid, 'pg_class') is not null`,
		b.live, b.shadow, b.schema)
}

// execute runs the statements that a query writes. $1 and so on are text.
func (b *rebuild) execute(ctx context.Context, tx pgx.Tx, sql string, args ...any) error {
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

// bulk folds what the live table has behind it already, or while nobody leads the
// group all there is now. It ends in the past, so it need not look out for a leader,
// and a second session reads the next page while this one writes.
func (b *rebuild) bulk(ctx context.Context, progress func(int64)) error {
	end, err := b.past(ctx)
	if err != nil {
		return err
	}
	reader, err := pgx.ConnectConfig(ctx, b.conn.Config())
	if err != nil {
		return err
	}
	defer reader.Close(context.WithoutCancel(ctx))
	reading, ctx := errgroup.WithContext(ctx)
	pages := make(chan []domain.Recorded, 1)
	reading.Go(func() error {
		defer close(pages)
		for at := (domain.Position{}); at.Before(end); {
			page, err := b.read(ctx, reader, at, end)
			if err != nil || len(page) < rebuildPage {
				return err // the rest is little, and is left to catchUp
			}
			at = page[len(page)-1].Position
			select {
			case pages <- page:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	reading.Go(func() error {
		for page := range pages {
			if err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
				if err := b.enter(ctx, tx); err != nil {
					return err
				}
				return b.apply(ctx, tx, page)
			}); err != nil {
				return err
			}
			progress(b.done.Events)
		}
		return nil
	})
	return reading.Wait()
}

// past is the checkpoint while somebody leads the group, and the last event there
// is while nobody does.
func (b *rebuild) past(ctx context.Context) (at domain.Position, err error) {
	err = pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
		end, err := b.end(ctx, tx)
		if err != nil {
			return err
		}
		if end != nil {
			at = *end
			return nil
		}
		err = tx.QueryRow(ctx, `select transaction_id, position from eventstore.events order by transaction_id desc, position desc limit 1`).
			Scan(&at.Transaction, &at.Number)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return at, err
}

// read reads the page behind a position, up to the end.
func (b *rebuild) read(ctx context.Context, conn *pgx.Conn, after, end domain.Position) (page []domain.Recorded, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		page, err = b.ledger.Feed(ctx, tx, after, rebuildPage, b.p.Concerned()...)
		return err
	})
	return until(page, &end), err
}

// until cuts a page off behind the end, if there is one.
func until(page []domain.Recorded, end *domain.Position) []domain.Recorded {
	if behind := slices.IndexFunc(page, func(r domain.Recorded) bool { return end != nil && end.Before(r.Position) }); behind >= 0 {
		return page[:behind]
	}
	return page
}

// catchUp folds page by page until there is no full page left.
func (b *rebuild) catchUp(ctx context.Context, progress func(int64)) error {
	for n := rebuildPage; n == rebuildPage; progress(b.done.Events) {
		reached := b.done
		err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
			end, err := b.end(ctx, tx)
			if err == nil {
				n, err = b.fold(ctx, tx, end)
			}
			return err
		})
		if err != nil {
			b.done = reached
			return err
		}
	}
	return nil
}

// end is where folding must stop. While somebody leads the group it is the group's
// checkpoint: the page in the leader's hands then follows on the new table just as
// it does on the live one. While nobody does there is no end, and until the end
// of the transaction nobody can.
func (b *rebuild) end(ctx context.Context, tx pgx.Tx) (*domain.Position, error) {
	var free bool
	err := tx.QueryRow(ctx, `select pg_try_advisory_xact_lock(hashtextextended('chatledger group ' || $1, 0))`, b.p.Name()).Scan(&free)
	if err != nil || free {
		return nil, err
	}
	checkpoint, err := b.checkpoint(ctx, tx, "")
	return &checkpoint, err
}

// checkpoint is where the live table stands.
func (b *rebuild) checkpoint(ctx context.Context, tx pgx.Tx, lock string) (at domain.Position, err error) {
	err = tx.QueryRow(ctx, `select transaction_id, position from eventstore.checkpoints where consumer_group = $1 `+lock, b.p.Name()).
		Scan(&at.Transaction, &at.Number)
	if errors.Is(err, pgx.ErrNoRows) {
		return at, nil
	}
	return at, err
}

// fold takes the next page of the feed into the new table, up to the end.
func (b *rebuild) fold(ctx context.Context, tx pgx.Tx, end *domain.Position) (int, error) {
	if err := b.enter(ctx, tx); err != nil {
		return 0, err
	}
	page, err := b.ledger.Feed(ctx, tx, b.done.At, rebuildPage, b.p.Concerned()...)
	if err != nil {
		return 0, err
	}
	if page = until(page, end); len(page) == 0 {
		return 0, nil
	}
	return len(page), b.apply(ctx, tx, page)
}

// enter makes the new table the one that the projection's statements name.
func (b *rebuild) enter(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `set local search_path = `+b.schema)
	return err
}

// apply folds a page into the new table.
func (b *rebuild) apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	if err := b.p.Apply(ctx, tx, page); err != nil {
		return err
	}
	b.done.Events += int64(len(page))
	b.done.At = page[len(page)-1].Position
	return nil
}

// swap folds what is left and puts the new table in the place of the live one. It
// takes its locks in the order in which everybody else does: views before the
// table, as queries do, and the table before the checkpoint, as the consumer does.
func (b *rebuild) swap(ctx context.Context) error {
	reached := b.done
	err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local search_path = ''; set local lock_timeout = '`+swapLock+`'`); err != nil {
			return err
		}
		err := b.execute(ctx, tx, `
			select format('lock table %s in access exclusive mode', string_agg(name, ', ' order by ord, name))
			from (select distinct 1 as ord, v.oid::regclass::text as name`+viewsOn+` union all select 2, $1) names`, b.live)
		if err != nil {
			return err
		}
		// Locked before the end is asked for: a consumer whose page touches no row of
		// the table moves its checkpoint all the same, until now.
		live, err := b.checkpoint(ctx, tx, "for update")
		if err != nil {
			return err
		}
		end, err := b.end(ctx, tx)
		if err != nil {
			return err
		}
		for n := 1; n > 0; {
			if n, err = b.fold(ctx, tx, end); err != nil {
				return err
			}
		}
		switch {
		case b.done.At.Before(live):
			return fmt.Errorf("the new table stands at %v, behind the live one at %v: events are missing from the feed", b.done.At, live)
		case end != nil && live.Before(b.done.At):
			return errAhead
		}
		if err := b.exchange(ctx, tx); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			insert into eventstore.checkpoints (consumer_group, transaction_id, position, events) values ($1, $2, $3, $4)
			on conflict (consumer_group) do update set transaction_id = excluded.transaction_id, position = excluded.position,
				events = excluded.events, updated_at = now()`,
			b.p.Name(), b.done.At.Transaction, b.done.At.Number, b.done.Events)
		return err
	})
	if err != nil {
		b.done = reached
	}
	return err
}

// viewsOn finds the views v that read from the table $1.
const viewsOn = `
	from pg_depend d join pg_rewrite r on r.oid = d.objid join pg_class v on v.oid = r.ev_class and v.relkind = 'v'
	where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = $1::regclass`

// exchange gives the new table the live one's name, comment, owner and rights, and
// points the views at it: a view knows its table by number, not by name.
func (b *rebuild) exchange(ctx context.Context, tx pgx.Tx) error {
	var same bool
	err := tx.QueryRow(ctx, `
		select array_agg((a.attname, a.atttypid, a.attnotnull) order by a.attnum) filter (where a.attrelid = $1::text::regclass)
		     = array_agg((a.attname, a.atttypid, a.attnotnull) order by a.attnum) filter (where a.attrelid = $2::text::regclass)
		from pg_attribute a where a.attrelid in ($1::text::regclass, $2::text::regclass) and a.attnum > 0 and not a.attisdropped`, b.live, b.shadow).Scan(&same)
	if err != nil {
		return err
	}
	if !same {
		return errors.New("the live table's columns were changed meanwhile; run it again")
	}
	replaced := pgx.Identifier{"readmodel_replaced_" + b.p.Name()}.Sanitize()
	table := pgx.Identifier{b.p.Name()}.Sanitize()
	return b.execute(ctx, tx, `
		with replaced as (select * from pg_class where oid = $1::regclass)
		select statement from (
			select 1, format('alter table %s owner to %I', $2, pg_get_userbyid(relowner)) from replaced where pg_get_userbyid(relowner) <> current_user
			union all
			select 2, format('comment on table %s is %L', $2, obj_description(oid, 'pg_class')) from replaced
			union all
			select 3, format('grant %s on %s to %s%s', a.privilege_type, $2, case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
				case when a.is_grantable then ' with grant option' end)
			from replaced, aclexplode(relacl) a where a.grantee <> relowner
			union all
			select 3, format('grant %s (%I) on %s to %s%s', a.privilege_type, c.attname, $2, case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
				case when a.is_grantable then ' with grant option' end)
			from replaced join pg_attribute c on c.attrelid = replaced.oid, aclexplode(c.attacl) a
			union all
			select 4, 'create schema ' || $3
			union all
			select 5, format('alter table %s set schema %s', $1, $3)
			union all
			select 6, format('alter table %s set schema readmodel', $2)
			union all
			select distinct 7, format('create or replace view %s%s as %s', v.oid::regclass, ' with (' || array_to_string(v.reloptions, ', ') || ')', pg_get_viewdef(v.oid))`+viewsOn+`
			union all -- refused when anything else depends on it, which then stays as it was
			select 8, format('drop table %s.%s', $3, $4)
			union all
			select 9, format('drop schema %s', $3)
			union all
			select 10, format('drop schema %s', $5)
		) statements (step, statement) order by step`, b.live, b.shadow, replaced, table, b.schema)
}

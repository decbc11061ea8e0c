package rebuild

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections"
)

const (
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

// insist retries try, after calling between, while its error is temporary.
func insist(ctx context.Context, try, between func(context.Context) error) error {
	for n := 1; ; n++ {
		err := try(ctx)
		if err == nil || !passing(err) || n == swapTries {
			return err
		}
		select {
		case <-time.After(swapPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := between(ctx); err != nil {
			return err
		}
	}
}

// errAhead is returned when a consumer became leader of the group behind the position of the new table.
var errAhead = errors.New("the live table's consumer is behind the new table; let it catch up, or stop it")

// passing reports whether an error is temporary: a lock timeout, a deadlock, or a live consumer that is
// still behind the new table.
func passing(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code == "55P03" || refused.Code == "40P01"
	}
	return errors.Is(err, errAhead)
}

// swap folds what is left and puts the new table in the place of the live one, which
// becomes the previous one.
func (b *rebuild) swap(ctx context.Context) error {
	reached := b.done
	err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
		live, err := b.lock(ctx, tx, b.p)
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
		case b.done.At.Before(live.At):
			return fmt.Errorf("the new table stands at %v, behind the live one at %v: events are missing from the "+
				"feed", b.done.At, live.At)
		case end != nil && live.At.Before(b.done.At):
			return errAhead
		}
		if _, err := tx.Exec(ctx, `drop table if exists `+b.previous); err != nil {
			return err
		}
		// All events were folded into the new table: it has no parked streams.
		_, err = tx.Exec(ctx, `delete from eventstore.parked where consumer_group = $1`, previousGroup(b.p))
		if err != nil {
			return err
		}
		return b.exchange(ctx, tx, b.p, mark{b.done.At, b.done.Events, b.p.Version()}, live)
	})
	if err != nil {
		b.done = reached
	}
	return err
}

// Rollback puts the table that the last rebuild replaced, and its checkpoint, back in
// the place of the live one, which is kept in turn: a second rollback undoes the first.
// The group's leader follows from there. It returns where the table stands, and the
// version of the projection that made it.
func Rollback(
	ctx context.Context, conn *pgx.Conn, p projections.Projection,
) (at domain.Position, version int, err error) {
	n := namesOf(p)
	try := func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			live, err := n.lock(ctx, tx, p)
			if err != nil {
				return err
			}
			var kept bool
			if err := tx.QueryRow(ctx, `select to_regclass($1) is not null`, n.previous).Scan(&kept); err != nil {
				return err
			}
			if !kept {
				return errors.New("no table is kept from an earlier rebuild")
			}
			previous, err := markOf(ctx, tx, p, previousGroup(p), "for update")
			if err != nil {
				return err
			}
			// What is left of an interrupted rebuild makes room.
			_, err = tx.Exec(ctx,
				`drop table if exists `+n.shadow+` cascade; alter table `+n.previous+` set schema `+shadowSchema)
			if err != nil {
				return err
			}
			at, version = previous.At, previous.Version
			return n.exchange(ctx, tx, p, previous, live)
		})
	}
	err = alone(ctx, conn, p, func() error { return insist(ctx, try, func(context.Context) error { return nil }) })
	if err != nil {
		return at, version, fmt.Errorf("roll %s back: %w", p.Name(), explained(err))
	}
	return at, version, nil
}

// mark is where a table stands, and who made it.
type mark struct {
	At      domain.Position
	Events  int64
	Version int
}

// previousGroup names the checkpoint of the previous table.
func previousGroup(p projections.Projection) string { return p.Name() + " (previous)" }

// markOf reads a checkpoint. Where nobody has led the group, the table is empty and of
// any version.
func markOf(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, p projections.Projection, group, lock string) (m mark, err error) {
	err = q.QueryRow(ctx,
		`select transaction_id, position, events, version from eventstore.checkpoints where consumer_group = $1 `+lock,
		group).
		Scan(&m.At.Transaction, &m.At.Number, &m.Events, &m.Version)
	if errors.Is(err, pgx.ErrNoRows) {
		return mark{Version: p.Version()}, nil
	}
	return m, err
}

// lock keeps everybody from the live table until the transaction ends. It takes its
// locks in the order in which everybody else does: views before the table, as queries
// do, and the table before the checkpoint, as the consumer does. The checkpoint is
// locked because a consumer whose page touches no row of the table moves it all the same.
func (n names) lock(ctx context.Context, tx pgx.Tx, p projections.Projection) (live mark, err error) {
	if _, err := tx.Exec(ctx, `set local search_path = ''; set local lock_timeout = '`+swapLock+`'`); err != nil {
		return live, err
	}
	err = execute(ctx, tx, `
		select format('lock table %s in access exclusive mode', string_agg(name, ', ' order by ord, name))
		from (select distinct 1 as ord, v.oid::regclass::text as name`+viewsOn+` union all select 2, $1) names`,
		n.live)
	if err != nil {
		return live, err
	}
	return markOf(ctx, tx, p, p.Name(), "for update")
}

// viewsOn finds the views v that read from the table $1.
const viewsOn = `
	from pg_depend d join pg_rewrite r on r.oid = d.objid join pg_class v on v.oid = r.ev_class and v.relkind = 'v'
	where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = $1::regclass`

// exchange gives the shadow the live table's name, comment, owner and rights, points
// the views at it, for a view knows its table by number, not by name, and makes the live
// table the previous one. Their checkpoints go with them.
func (n names) exchange(ctx context.Context, tx pgx.Tx, p projections.Projection, shadow, live mark) error {
	if _, err := tx.Exec(ctx, `set local search_path = ''`); err != nil {
		return err
	}
	if err := n.alike(ctx, tx); err != nil {
		return err
	}
	err := execute(ctx, tx, `
		with live as (select * from pg_class where oid = $1::regclass),
			shadow as (select * from pg_class where oid = $2::regclass)
		select statement from (
			select 1, format('alter table %s owner to %I', $2, pg_get_userbyid(relowner))
			from live where pg_get_userbyid(relowner) <> current_user
			union all
			select 2, format('comment on table %s is %L', $2, obj_description(oid, 'pg_class')) from live
			union all -- of a table that was live before, and was granted then
			select 3, format('revoke all on %s from %s', $2,
				case a.grantee when 0 then 'public' else a.grantee::regrole::text end)
			from shadow, lateral (select (aclexplode(relacl)).grantee
				union select (aclexplode(attacl)).grantee from pg_attribute where attrelid = shadow.oid) a
			where a.grantee <> relowner
			union all
			select 4, format('grant %s on %s to %s%s', a.privilege_type, $2,
				case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
				case when a.is_grantable then ' with grant option' end)
			from live, aclexplode(relacl) a where a.grantee <> relowner
			union all
			select 4, format('grant %s (%I) on %s to %s%s', a.privilege_type, c.attname, $2,
				case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
				case when a.is_grantable then ' with grant option' end)
			from live join pg_attribute c on c.attrelid = live.oid, aclexplode(c.attacl) a
			union all
			select 5, format('alter table %s set schema %s', $1, $3)
			union all
			select 6, format('alter table %s set schema readmodel', $2)
			union all
			select distinct 7, format('create or replace view %s%s as %s', v.oid::regclass,
				' with (' || array_to_string(v.reloptions, ', ') || ')', pg_get_viewdef(v.oid))`+viewsOn+`
		) statements (step, statement) order by step`, n.live, n.shadow, previousSchema)
	if err != nil {
		return err
	}
	if err := n.loose(ctx, tx); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		insert into eventstore.checkpoints (consumer_group, transaction_id, position, events, version)
		values ($1, $2, $3, $4, $5), ($6, $7, $8, $9, $10)
		on conflict (consumer_group) do update
			set transaction_id = excluded.transaction_id, position = excluded.position,
			events = excluded.events, version = excluded.version, updated_at = now()`,
		p.Name(), shadow.At.Transaction, shadow.At.Number, shadow.Events, shadow.Version,
		previousGroup(p), live.At.Transaction, live.At.Number, live.Events, live.Version)
	if err != nil {
		return err
	}
	return exchangeParked(ctx, tx, p)
}

// exchangeParked lets the parked streams of both tables go with them, and has the group's leader
// read its own again if there are any.
func exchangeParked(ctx context.Context, tx pgx.Tx, p projections.Projection) error {
	for _, statement := range []string{
		`update eventstore.parked set consumer_group = $1 || ' (swap)' where consumer_group = $1 and $2 <> ''`,
		`update eventstore.parked set consumer_group = $1 where consumer_group = $2`,
		`update eventstore.parked set consumer_group = $2 where consumer_group = $1 || ' (swap)'`,
		`update eventstore.checkpoints set parked_changes = parked_changes + 1
		where consumer_group = $1 and exists (select from eventstore.parked where consumer_group in ($1, $2))`,
	} {
		if _, err := tx.Exec(ctx, statement, p.Name(), previousGroup(p)); err != nil {
			return err
		}
	}
	return nil
}

// alike returns an error if a migration has changed one of the two tables.
func (n names) alike(ctx context.Context, tx pgx.Tx) error {
	var same bool
	err := tx.QueryRow(ctx, `
		select count(distinct parts) = 1
		from unnest(array[$1, $2]::text[]) name, lateral (select
			array(select format('%s %s %s', attname, atttypid, attnotnull) from pg_attribute
				where attrelid = name::regclass and attnum > 0 and not attisdropped order by attnum)
			|| array(select relname::text from pg_index join pg_class c on c.oid = indexrelid
				where indrelid = name::regclass order by 1)
			|| array(select conname || pg_get_constraintdef(oid) from pg_constraint
				where conrelid = name::regclass order by 1) as parts) described`,
		n.live, n.shadow).Scan(&same)
	if err == nil && !same {
		err = errors.New("the live table's columns, indexes or constraints were changed meanwhile; rebuild it again")
	}
	return err
}

// loose returns an error if anything but a view depends on the replaced table, because it would
// continue to read that table. A DROP TABLE that is rolled back makes the server check this.
func (n names) loose(ctx context.Context, tx pgx.Tx) error {
	attempt, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = attempt.Exec(ctx, `drop table `+n.previous)
	return errors.Join(err, attempt.Rollback(ctx))
}

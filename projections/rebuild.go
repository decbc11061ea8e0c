package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
	// swapLock is how long the swap waits for queries on the live table to end;
	// longer, and queries that come after it would queue behind it.
	swapLock = "2s"
	// swapTries is how often it comes back for another try.
	swapTries = 30
)

// Rebuild folds the feed from its beginning into a new table beside the live one,
// which is read and written meanwhile, and puts it in the live one's place in one
// short transaction. Interrupted, it leaves the live table as it was; the next
// run clears away what is left.
func Rebuild(ctx context.Context, conn *pgx.Conn, ledger Ledger, p Projection, progress func(events int64)) (Rebuilt, error) {
	b := &rebuild{conn: conn, ledger: ledger, p: p, begun: time.Now(),
		shadow: pgx.Identifier{"readmodel_rebuild_" + p.Name()}.Sanitize(), table: pgx.Identifier{p.Name()}.Sanitize()}
	if err := b.run(ctx, progress); err != nil {
		return b.done, fmt.Errorf("rebuild %s: %w", p.Name(), err)
	}
	b.done.Took = time.Since(b.begun)
	return b.done, nil
}

type rebuild struct {
	conn          *pgx.Conn
	ledger        Ledger
	p             Projection
	begun         time.Time
	shadow, table string // as SQL identifiers
	done          Rebuilt
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
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for {
		n, err := b.page(ctx)
		if err != nil {
			return err
		}
		if progress(b.done.Events); n < rebuildPage {
			break
		}
	}
	for try := 1; ; try++ {
		err := b.swap(ctx)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "55P03" || try == swapTries { // lock_not_available
			return err
		}
	}
}

// prepare makes an empty table like the live one, in a schema of its own.
func (b *rebuild) prepare(ctx context.Context) error {
	return pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			drop schema if exists `+b.shadow+` cascade;
			create schema `+b.shadow+`;
			create table `+b.shadow+`.`+b.table+` (like readmodel.`+b.table+` including all)`)
		return err
	})
}

// page folds the next page of the feed into the new table.
func (b *rebuild) page(ctx context.Context) (n int, err error) {
	err = pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
		n, err = b.fold(ctx, tx)
		return err
	})
	return n, err
}

func (b *rebuild) fold(ctx context.Context, tx pgx.Tx) (int, error) {
	if _, err := tx.Exec(ctx, `set local search_path = `+b.shadow); err != nil {
		return 0, err
	}
	page, err := b.ledger.Feed(ctx, tx, b.done.At, rebuildPage)
	if err != nil || len(page) == 0 {
		return 0, err
	}
	if err := b.p.Apply(ctx, tx, page); err != nil {
		return 0, err
	}
	b.done.Events += int64(len(page))
	b.done.At = page[len(page)-1].Position
	return len(page), nil
}

// swap catches up and puts the new table in the place of the live one. The live
// table is locked before the checkpoint, in the order in which the live consumer
// takes them; that consumer then finds its checkpoint moved and begins again from it.
func (b *rebuild) swap(ctx context.Context) error {
	reached := b.done
	err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local lock_timeout = '`+swapLock+`'; lock table readmodel.`+b.table+` in access exclusive mode`); err != nil {
			return err
		}
		var live domain.Position
		err := tx.QueryRow(ctx, `select transaction_id, position from eventstore.checkpoints where consumer_group = $1 for update`, b.p.Name()).
			Scan(&live.Transaction, &live.Number)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		for n := 1; n > 0; {
			if n, err = b.fold(ctx, tx); err != nil {
				return err
			}
		}
		if b.done.At.Before(live) {
			return fmt.Errorf("the new table stands at %v, behind the live one at %v: events are missing from the feed", b.done.At, live)
		}
		if err := b.exchange(ctx, tx); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			insert into eventstore.checkpoints (consumer_group, transaction_id, position, events) values ($1, $2, $3, $4)
			on conflict (consumer_group) do update set transaction_id = excluded.transaction_id, position = excluded.position,
				events = excluded.events, updated_at = now()`,
			b.p.Name(), b.done.At.Transaction, b.done.At.Number, b.done.Events)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `select count(*) from readmodel.`+b.table).Scan(&b.done.Rows)
	})
	if err != nil {
		b.done = reached
	}
	return err
}

// exchange gives the new table the live one's name, comment and rights, and points
// the views at it: a view knows its table by number, not by name.
func (b *rebuild) exchange(ctx context.Context, tx pgx.Tx) error {
	live := "readmodel." + b.table
	rows, err := tx.Query(ctx, `
		select distinct format('create or replace view %s as %s', v.oid::regclass, pg_get_viewdef(v.oid))
		from pg_depend d join pg_rewrite r on r.oid = d.objid join pg_class v on v.oid = r.ev_class and v.relkind = 'v'
		where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = $1::text::regclass`, live)
	if err != nil {
		return err
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	var comment string
	if err := tx.QueryRow(ctx, `select format('comment on table `+live+` is %L', obj_description($1::text::regclass))`, live).Scan(&comment); err != nil {
		return err
	}
	rows, err = tx.Query(ctx, `
		select format('grant %s on `+live+` to %s', a.privilege_type, case when a.grantee = 0 then 'public' else a.grantee::regrole::text end)
		from pg_class c, aclexplode(c.relacl) a where c.oid = $1::text::regclass`, live)
	if err != nil {
		return err
	}
	grants, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	// search_path is still the new table's schema, so the views' definitions above
	// name the live table in full.
	all := append([]string{
		`drop schema if exists readmodel_replaced cascade`,
		`create schema readmodel_replaced`,
		`alter table ` + live + ` set schema readmodel_replaced`,
		`alter table ` + b.shadow + `.` + b.table + ` set schema readmodel`,
		comment,
	}, append(statements, grants...)...)
	all = append(all, `drop schema readmodel_replaced cascade`, `drop schema `+b.shadow+` cascade`)
	for _, statement := range all {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

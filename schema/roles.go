package schema

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

//go:embed roles.sql
var rolesSQL string

// Roles are the names of the database roles: Owner owns the schema and migrates it, the program
// serves as App, and Analyst reads the read model.
type Roles struct{ Owner, App, Analyst string }

// RolesOf returns the roles with a prefix, such as chatledger_owner.
func RolesOf(prefix string) Roles {
	return Roles{prefix + "_owner", prefix + "_app", prefix + "_analyst"}
}

// rolePrefix leaves room for the longest name in PostgreSQL's 63 bytes, and needs no quotes.
var rolePrefix = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)

// rolesLock limits the wait for a lock on a table whose owner changes: later queries on that
// table queue behind the waiting statement.
const rolesLock = "5s"

// MakeRoles creates the roles of a migrated database and grants their rights, in one transaction.
// The first run needs a role that may create roles. Later runs extend the rights to what
// migrations have added, and need only the owner. Any number of processes may call it at once.
// notice receives the server's notices, which name what is missing.
func MakeRoles(ctx context.Context, dsn, prefix string, notice func(string)) (Roles, error) {
	if !rolePrefix.MatchString(prefix) {
		const invalid = "role prefix %q is invalid: use 1 to 48 of a-z 0-9 _, beginning with a letter"
		return Roles{}, fmt.Errorf(invalid, prefix)
	}
	r := RolesOf(prefix)
	cfg, err := config(dsn)
	if err != nil {
		return r, err
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notice(n.Message) }
	db := stdlib.OpenDB(*cfg)
	defer db.Close() // ends the session, and with it the lock
	if err := makeRoles(ctx, db, r); err != nil {
		return r, fmt.Errorf("create roles %s, %s and %s: %w; run it as a superuser, or as the owner of what the "+
			"error names",
			r.Owner, r.App, r.Analyst, err)
	}
	return r, nil
}

func makeRoles(ctx context.Context, db *sql.DB, r Roles) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := (locker{}).SessionLock(ctx, conn); err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := refuseForeign(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `
		select set_config('chatledger.owner', $1, true), set_config('chatledger.app', $2, true),
			set_config('chatledger.analyst', $3, true), set_config('lock_timeout', $4, true)`,
		r.Owner, r.App, r.Analyst, rolesLock); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, rolesSQL); err != nil {
		return err
	}
	return tx.Commit()
}

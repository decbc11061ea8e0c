package schema

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed roles.sql
var rolesSQL string

// Roles are three names: who owns the schema and migrates it, who the program serves as,
// and who reads the read model.
type Roles struct{ Owner, App, Analyst string }

// RolesOf are the roles of a prefix, such as chatledger_owner.
func RolesOf(prefix string) Roles {
	return Roles{prefix + "_owner", prefix + "_app", prefix + "_analyst"}
}

// rolePrefix leaves room for the longest name in PostgreSQL's 63 bytes, and needs no quotes.
var rolePrefix = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)

// rolesLock is how long a table is waited for that changes hands: those who ask for it
// after that wait behind.
const rolesLock = "5s"

// MakeRoles gives a migrated database its roles and each of them its rights; all of it or
// nothing. It needs who may make roles the first time, and the owner afterwards, when it
// extends the rights to what migrations have added. Any number may run it at once. note is
// told what the server says to be missing.
func MakeRoles(ctx context.Context, dsn, prefix string, note func(string)) (Roles, error) {
	if !rolePrefix.MatchString(prefix) {
		return Roles{}, fmt.Errorf("roles cannot begin with %q: use 1 to 48 of a-z 0-9 _, beginning with a letter", prefix)
	}
	r := RolesOf(prefix)
	conn, err := connect(ctx, dsn, func(c *pgx.ConnConfig) {
		c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { note(n.Message) }
	})
	if err != nil {
		return r, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // ends the session, and with it the lock
	if err := lock(ctx, conn); err != nil {
		return r, err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			select set_config('chatledger.owner', $1, true), set_config('chatledger.app', $2, true),
				set_config('chatledger.analyst', $3, true), set_config('lock_timeout', $4, true)`, r.Owner, r.App, r.Analyst, rolesLock)
		if err == nil {
			_, err = tx.Exec(ctx, rolesSQL)
		}
		return err
	})
	if err != nil {
		return r, fmt.Errorf("make roles %s, %s and %s: %w; let a superuser do it, or who made what it names", r.Owner, r.App, r.Analyst, err)
	}
	return r, nil
}

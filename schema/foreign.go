package schema

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/stdlib"
)

// objectsList names all objects of the migrations that run code or say what does, one a line. A
// test compares it with a migrated database.
//
//go:embed objects.txt
var objectsList string

// foreignSQL finds the objects in our schemas that are not in a list.
//
//go:embed foreign.sql
var foreignSQL string

// Foreign returns the objects in the program's schemas that no migration made, and those whose owner
// has not the rights of the schema's owner. Such objects run with the rights of the role that migrates,
// restores or adopts them. Tables and plain indexes run nothing and may be added.
func Foreign(ctx context.Context, dsn string) ([]string, error) {
	cfg, err := config(dsn)
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	return foreign(ctx, db, objects())
}

// objects is the list as its lines.
func objects() []string { return strings.Split(strings.TrimSpace(objectsList), "\n") }

// querier is a database, a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func foreign(ctx context.Context, q querier, known []string) ([]string, error) {
	rows, err := q.QueryContext(ctx, foreignSQL, known)
	if err != nil {
		return nil, fmt.Errorf("look for foreign objects in the schemas: %w", err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, fmt.Errorf("look for foreign objects in the schemas: %w", err)
		}
		found = append(found, one)
	}
	return found, rows.Err()
}

// refuseForeign returns an error that names foreign objects, if there are any.
func refuseForeign(ctx context.Context, q querier) error {
	found, err := foreign(ctx, q, objects())
	if err != nil || len(found) == 0 {
		return err
	}
	const refused = "the schemas contain what no migration made: %s; look at its definition, and drop it, move it to a " +
		"schema of its own or, if only its owner is wrong, reassign owned by that role to the schema's owner"
	return fmt.Errorf(refused, strings.Join(found, ", "))
}

package schema

import (
	"context"
	"database/sql"
)

// MigrateFS is Migrate with the given migrations.
var MigrateFS = migrate

// Files returns the migrations of the program.
var Files = embedded

// Objects returns the list of the objects that migrations make.
var Objects = objects

// ForeignTo is Foreign with another list.
func ForeignTo(ctx context.Context, db *sql.DB, known []string) ([]string, error) {
	return foreign(ctx, db, known)
}

// LockID is the advisory lock of migrations.
const LockID = lockID

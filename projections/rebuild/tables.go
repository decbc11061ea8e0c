package rebuild

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/projections"
)

// shadowSchema holds the tables that rebuilds fold into. The migrations create it, and
// readmodel_previous, which holds the tables that the last rebuilds replaced.
const shadowSchema = "readmodel_rebuild"

// names are the SQL names of a projection's tables: the live one, and the shadow that a rebuild
// folds into.
type names struct{ live, shadow string }

func namesOf(p projections.Projection) names {
	in := func(schema string) string { return pgx.Identifier{schema, p.Name()}.Sanitize() }
	return names{in("readmodel"), in(shadowSchema)}
}

// define runs one of the functions of eventstore that create, swap and drop a projection's tables with
// the rights of the schema's owner: the program's own role owns no table.
func define(ctx context.Context, tx interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}, function string, p projections.Projection) error {
	_, err := tx.Exec(ctx, `select eventstore.`+function+`($1)`, p.Name())
	return err
}

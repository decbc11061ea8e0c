package health

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Writer is a session with an open transaction that has written something.
type Writer struct {
	PID         int32
	Application string
	User        string
	State       string // active, or "idle in transaction" if its program has left it open
	Age         time.Duration
}

// OldestWriter returns the oldest open write transaction in any database of the server, or false if
// there is none. Consumers cannot read events after its transaction id. Sessions that only read do not
// hold consumers back.
func (h Health) OldestWriter(ctx context.Context) (Writer, bool, error) {
	var w Writer
	var seconds float64
	err := h.db.Pool().QueryRow(ctx, `
		select pid, coalesce(application_name, ''), coalesce(usename, ''), coalesce(state, ''),
			extract(epoch from clock_timestamp() - coalesce(xact_start, clock_timestamp()))::float8
		from pg_stat_activity
		where backend_xid is not null and pid <> pg_backend_pid()
		order by xact_start
		limit 1`).Scan(&w.PID, &w.Application, &w.User, &w.State, &seconds)
	if errors.Is(err, pgx.ErrNoRows) {
		return w, false, nil
	}
	if err != nil {
		return w, false, fmt.Errorf("find the oldest open write: %w", err)
	}
	w.Age = time.Duration(seconds * float64(time.Second))
	return w, true, nil
}

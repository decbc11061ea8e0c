package postgres

import (
	"github.com/jackc/pgx/v5"
)

// Renew makes each new connection call read, and use the user and the password of the address that it
// returns, so that they can be rotated without a restart. If read fails, those of Open are used. Open
// connections stay.
func (db *DB) Renew(read func() (dsn string, err error)) { db.renew.Store(&read) }

func (db *DB) credentials(config *pgx.ConnConfig) {
	read := db.renew.Load()
	if read == nil {
		return
	}
	dsn, err := (*read)()
	if err != nil {
		return
	}
	if now, err := pgx.ParseConfig(dsn); err == nil {
		config.User, config.Password = now.User, now.Password
	}
}

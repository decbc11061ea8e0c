//go:build unix

package postgres_test

import (
	"errors"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
)

// New connections use rotated credentials: those of the pool and those beside it. When they cannot be
// read, the previous ones are used.
func TestRenew_CredentialsRotated_NewConnectionsUseThem(t *testing.T) {
	t.Parallel()
	_, as := ranked(t, "renew")
	db, err := postgres.Open(t.Context(), as("app"), "process")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	address, wrong := as("app"), error(nil)
	db.Renew(func() (string, error) { return address, wrong })
	for _, step := range []struct {
		address string
		wrong   error
		want    string
	}{
		{as("app"), nil, "renew_app"}, {as("owner"), nil, "renew_owner"},
		{as("app"), errors.New("no such file"), "renew_app"},
		{"not an address", nil, "renew_app"}, {as("owner"), nil, "renew_owner"},
	} {
		address, wrong = step.address, step.wrong
		session, err := db.Session(t.Context(), "a test")
		if err != nil {
			t.Fatal(err)
		}
		if user := pgtest.Ask[string](t, session, `select current_user::text`); user != step.want {
			t.Errorf("with %.20s and %v, a session is %s's, want %s", step.address, step.wrong, user, step.want)
		}
		postgres.CloseSession(session)
		db.Pool().Reset()
		if user := pgtest.Ask[string](t, db.Pool(), `select current_user::text`); user != step.want {
			t.Errorf("with %.20s and %v, the pool is %s's, want %s", step.address, step.wrong, user, step.want)
		}
	}
}

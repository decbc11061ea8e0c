//go:build unix

package rebuild_test

import (
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/projectionstest"
	"github.com/chatledger/chatledger/projections/rebuild"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// ledger is a ledger whose tables are rebuilt and compared.
type ledger struct{ *projectionstest.Ledger }

func newLedger(t testing.TB) *ledger { return &ledger{projectionstest.New(t)} }

// rebuild rebuilds a table and fails the test unless it is what the events lead to.
func (l *ledger) rebuild(t testing.TB, p projections.Projection) rebuild.Result {
	t.Helper()
	done, err := rebuild.Table(waittest.Context(t), l.Conn, l, p, rebuild.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.Verify(t, p)
	return done
}

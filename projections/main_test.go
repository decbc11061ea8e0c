//go:build unix

package projections_test

import (
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

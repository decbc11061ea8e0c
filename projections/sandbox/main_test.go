//go:build unix

package sandbox_test

import (
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

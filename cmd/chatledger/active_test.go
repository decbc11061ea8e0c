package main

import (
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
)

// Queries for open conversations and open tickets read an index that holds only those, also beside ten
// thousand that have ended.
func TestActiveRows_ManyEnded_FoundByIndex(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Database(t))
	pgtest.Exec(t, conn, `
		insert into readmodel.conversations (stream_id, bot, handler, blocked, workflow, step, collected,
		messages, replies, unread,
			awaiting_delivery, failed_deliveries, created_at, updated_at, version, transaction_id, position)
		select 'chat-demo:' || n, 'demo', case when n % 2000 = 0 then 'person' else 'bot' end, false,
		'billing_address_change',
			case when n % 2000 = 1 then 'collecting_address' else 'completed' end, '{}', 1, 1, 0, 0, 0, now(), now(), 1, '1', n
		from generate_series(1, 10010) n`)
	pgtest.Exec(t, conn, `
		insert into readmodel.tickets (ticket_id, stream_id, bot, chat_id, status, priority, reason,
		subject, opened_at, due_at,
			reopened, escalations, updated_at, version, transaction_id, position)
		select 'demo:' || n || '#1', 'chat-demo:' || n, 'demo', n,
		case when n % 1000 = 0 then 'open' else 'resolved' end, 'normal', 'asked', '', now(), now(),
			0, 0, now(), 1, '1', n
		from generate_series(1, 10010) n`)
	pgtest.Exec(t, conn, `analyze readmodel.conversations, readmodel.tickets`)

	active := map[string]string{`select * from readmodel.ticket_queue`: "tickets_open"}
	for _, q := range questions(t) {
		if q.title == "Who is in the middle of something now?" {
			active[q.sql] = "conversations_active"
		}
	}
	if len(active) != 2 {
		t.Fatal("the guide does not ask who is in the middle of something")
	}
	for sql, index := range active {
		plan := string(pgtest.Ask[[]byte](t, conn, `explain (format json) `+sql))
		if !strings.Contains(plan, `"`+index+`"`) {
			t.Errorf("%s is not read by\n%s\n%s", index, sql, plan)
		}
		if n := pgtest.Ask[int64](t, conn, `select count(*) from (`+sql+`) q`); n < 10 || n > 11 {
			t.Errorf("%d rows are active by\n%s", n, sql)
		}
		if kept := pgtest.Ask[float64](t, conn, `select reltuples from pg_class
			where oid = ('readmodel.' || $1)::regclass`, index); kept > 11 {
			t.Errorf("%s holds %v rows", index, kept)
		}
	}
}

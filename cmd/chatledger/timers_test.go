package main

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Tickets became overdue while no process ran. Two processes catch up, and one or the other is killed
// meanwhile: each ticket is reported as overdue once.
func TestTimers_ProcessesKilled_GoOff(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some 15 s")
	}
	const tickets, kills = 4000, 3
	w := newTown(t, pgtest.Database(t))
	opened := clock.Now().Add(-24 * time.Hour)
	store, err := eventstore.Open(t.Context(), w.dsn, "test", chat.NewCodec())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	handler := commands.NewHandler(store, commands.Config{})
	defer handler.Close()
	var requests []commands.Request
	for n := range int64(tickets) {
		requests = append(requests,
			commands.Request{Stream: domain.ChatStream("demo", 1000+n), Actor: "operator:ann", At: opened,
				Command: chat.OpenTicket{Reason: "asked", Priority: dialog.Urgent, At: opened}})
	}
	if _, err := handler.HandleAll(t.Context(), requests); err != nil {
		t.Fatal(err)
	}

	overdue := func() int {
		n, err := strconv.Atoi(w.rows(`select count(distinct stream_id) from eventstore.events where name = 'due_breached'`))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	keepers := []*program{w.serve(), w.serve()}
	for k := range kills {
		w.eventually("tickets become overdue", func() string {
			return unless(overdue() > k*tickets/(kills+1), "%d of %d", overdue(), tickets)
		})
		if n := overdue(); n == tickets {
			t.Logf("kill %d comes too late to be in the middle", k+1)
		}
		if err := w.end(keepers[k%2], syscall.SIGKILL); err == nil {
			t.Errorf("the program survived kill %d", k+1)
		}
		keepers[k%2] = w.serve()
	}
	w.eventually("no timer is left",
		func() string { return w.rows(`select count(*) from eventstore.timers having count(*) > 0`) })
	w.wantRows(fmt.Sprintf("first_response, %d, %[1]d; resolution, %[1]d, %[1]d", tickets),
		`select payload ->> 'what', count(*), count(distinct stream_id) from eventstore.events where name = 'due_breached'
			group by 1 order by 1`)
	w.settle()
	w.wantRows(fmt.Sprint(tickets), `select count(*) from readmodel.tickets where first_response_breached_at is not null
		and resolution_breached_at is not null`)
	w.clean()
}

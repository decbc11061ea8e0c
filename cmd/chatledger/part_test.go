package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
)

// Who receives answers nobody, who works takes nothing in, and together they do everything:
// what came in while nobody worked is answered afterwards, once.
func TestReceivingAndWorkingAreForProcessesOfTheirOwn(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	w.running = w.start(w.dsn, func(c *appConfig) { c.Only = receiving })
	w.register()
	w.Say(42, "Where is my order 1001?")
	w.eventually("the message is stored", func() string {
		return unless(pgtest.Ask[int](t, w.db, `select count(*) from eventstore.events`) == 1, "it is not")
	})
	if led := pgtest.Ask[int](t, w.db, `select count(*) from eventstore.checkpoints`); led > 0 {
		t.Errorf("who only receives has led %d consumer groups", led)
	}

	work := func(c *appConfig) { c.Only = working }
	worker := w.start(w.dsn, work)
	if status, _, err := post(worker.url, `{"update_id": 1}`); err != nil || status != http.StatusNotFound {
		t.Errorf("who only works answers a webhook with %d (%v)", status, err)
	}
	answers := func(n int) {
		t.Helper()
		w.eventually("the customer is answered", func() string {
			return unless(len(w.Messages(42)) == 2*n, "%+v", w.Messages(42))
		})
	}
	answers(1)
	worker.stop()
	w.Say(42, "Where is my order 1002?")
	w.start(w.dsn, work)
	answers(2)
	w.settle()
	answers(2)

	// Who only receives knows how far the others are: when nobody works, somebody must say so.
	receiver := w.start(w.dsn, func(c *appConfig) { c.Only = receiving })
	w.eventually("a receiver tells the lag of every group", func() string {
		_, metrics, err := get(receiver.url + "/metrics")
		for _, group := range consumerGroups() {
			if !strings.Contains(metrics, fmt.Sprintf("chatledger_consumer_lag_seconds{group=%q}", group)) {
				return fmt.Sprint("none of ", group, err)
			}
		}
		return ""
	})
}

package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// A process with --only receive sends no answers, one with --only work receives no updates, and together
// they do everything: updates that came while no worker ran are answered later, once.
func TestParts_SeparateProcesses_ShareTheWork(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	w.running = w.start(w.dsn, func(c *server.Config) { c.Only = server.Receive })
	w.register()
	w.Say(42, "Where is my order 1001?")
	w.eventually("the message is stored", func() string {
		return unless(pgtest.Ask[int](t, w.db, `select count(*) from eventstore.events`) == 1, "it is not")
	})
	if led := pgtest.Ask[int](t, w.db, `select count(*) from eventstore.checkpoints`); led > 0 {
		t.Errorf("who only receives has led %d consumer groups", led)
	}

	work := func(c *server.Config) { c.Only = server.Work }
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

	// A receiver measures the lag of the workers' groups: when no worker runs, only a receiver can report it.
	receiver := w.start(w.dsn, func(c *server.Config) { c.Only = server.Receive })
	w.eventually("a receiver tells the lag of every group", func() string {
		_, metrics, err := get(receiver.url + "/metrics")
		for _, group := range server.ConsumerGroups() {
			if !strings.Contains(metrics, fmt.Sprintf("chatledger_consumer_lag_seconds{group=%q}", group)) {
				return fmt.Sprint("none of ", group, err)
			}
		}
		return ""
	})
}

// Each part applies changes of the bots file: a receiver starts to receive the updates of a new bot, and a
// worker starts to answer them.
func TestParts_BotsFileChanges_EachFollows(t *testing.T) {
	t.Parallel()
	w := newBotsTown(t, "first", "second", "third")
	var told, worked waittest.Log
	read := func(log *waittest.Log, what string) {
		t.Helper()
		w.eventually(what,
			func() string { return unless(strings.Contains(log.String(), what), "the log says %s", log.String()) })
	}
	point := func(names ...string) {
		t.Helper()
		for _, name := range names {
			w.point(name, readBotOf(t, w.file, name))
		}
	}
	first, second, third := plain("first", 0), plain("second", 1), plain("third", 2)
	w.write(first)
	w.running = w.serveFileAs(server.Receive, &told)

	w.write(first, second)
	read(&told, "added=[second]")
	point("first", "second")
	for _, name := range []string{"first", "second"} {
		w.says(name, 7, "Where is my order 1001?")
	}
	w.eventually("both are stored",
		func() string { return w.rows(`select count(*) from eventstore.events having count(*) <> 2`) })
	w.wantRows("0, 0",
		`select (select count(*) from eventstore.checkpoints), (select count(*) from eventstore.deliveries)`)

	worker := w.serveFileAs(server.Work, &worked)
	heard := func(name string, n int) {
		t.Helper()
		w.eventually(name+" answers", func() string {
			heard := w.heard(name, 7)
			return unless(len(heard) == n && strings.Contains(heard[0], "Order 1001"), "it says %q", heard)
		})
	}
	heard("first", 1)
	heard("second", 1)

	// One bot is added, one is removed, and one gets another secret and another catalogue.
	orders := saved(t, w.file+".orders", "- {number: '1001', status: shipped, detail: By rail.}\n")
	first = strings.NewReplacer("secret-of-first", "other-secret", "orders: demo", "orders: "+orders).Replace(first)
	w.write(first, third)
	for _, log := range []*waittest.Log{&told, &worked} {
		read(log, "added=[third] changed=[first] removed=[second]")
	}
	for address, want := range map[string]int{
		w.url + "/webhook/first": http.StatusOK, w.url + "/webhook/second": http.StatusNotFound,
		worker.url + "/webhook/first": http.StatusNotFound, worker.url + "/webhook/third": http.StatusNotFound,
	} {
		if status := postTo(t, address, "other-secret"); status != want {
			t.Errorf("%s answers %d", address, status)
		}
	}
	point("first", "third")
	w.says("third", 7, "Where is my order 1001?")
	heard("third", 1)
	w.answers("first", 7, "Where is my order 1001?", "By rail.")

	// A mistake changes neither process, and both report it.
	w.write(first, strings.Replace(third, "orders: demo", "ordres: demo", 1))
	for log, of := range map[*waittest.Log]*running{&told: w.running, &worked: worker} {
		read(log, "bots file rejected")
		w.eventually("its metric says so", func() string {
			_, metrics, err := get(of.url + "/metrics")
			return unless(strings.Contains(metrics, "\nchatledger_bots_file_rejected 1\n"), "%v", err)
		})
	}
	w.says("third", 8, "Where is my order 1001?")
	w.eventually("third goes on",
		func() string { return unless(len(w.heard("third", 8)) == 1, "%q", w.heard("third", 8)) })
	w.clean()
}

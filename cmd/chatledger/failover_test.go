package main

import (
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
)

// An asynchronous replica is promoted that lacks the last events: of one chat, some, of another, all,
// with the reply that is on its way. The same processes go on with what the replica has: every group
// moves, no stream begins with an outcome, and what is asked now is answered once.
func TestFailover_ReplicaLostTail_WorkGoesOn(t *testing.T) {
	t.Parallel()
	pair := pgtest.NewPair(t)
	line, dsn := newWire(t, pair.Database(t, "ledger"))
	w := newWorldOn(t, dsn)
	w.Say(7, "hello")
	w.settle()
	pair.LoseTail(t)
	w.Say(7, "thank you")
	w.settle()
	sending, answer := make(chan bool, 1), make(chan bool)
	w.OnSend(func(chat int64, _ string, _ time.Time) {
		if chat == 8 {
			sending <- true
			<-answer
		}
	})
	w.Say(8, "hello")
	<-sending
	w.OnSend(nil)

	line.set(cut)
	line.lead(pair.FailOver(t))
	w.db.Reset() // the test's own sessions
	close(answer)
	w.eventually("the server takes updates again", func() string {
		status, body, err := get(w.url + "/readyz")
		return unless(err == nil && status == 200, "%d %s %v", status, body, err)
	})
	w.Say(7, "hello")
	w.Say(8, "thank you")
	w.settle()
	for chat, n := range map[int64]int{7: 3, 8: 2} {
		if said := w.texts(chat, "bot"); len(said) != n {
			t.Errorf("chat %d: the bot says %q, want %d texts", chat, said, n)
		}
	}
	w.wantRows("chat-demo:7, message_received; chat-demo:8, message_received", `
		select stream_id, name from eventstore.events
		where version = 1 and stream_id like 'chat-%' order by 1`)
	w.gapless()
	w.clean()
}

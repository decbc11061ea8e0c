package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

var full = flag.Bool("full", false,
	"kill the sender 20 times among 1,000 effects instead of 4 times among 240, and keep Telegram down for 2 minutes "+
		"instead of 10 s, and hurry all of a crowd")

// The sender is killed repeatedly in the middle of its calls. Telegram and the ledger agree: no message is
// lost, none arrives twice without a mark, and each chat has its messages in order.
func TestKill_AmongDeliveries_NoneLost(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some 15 s")
	}
	const chats = 40
	effects, kills := 240, 4
	if *full {
		effects, kills = 1000, 20
	}
	w := newTown(t, pgtest.Database(t))
	w.write(chats, effects)

	sent := func() (n int64) {
		for _, calls := range w.Stats().Calls["sendMessage"] {
			n += calls
		}
		return n
	}
	p := w.serve()
	for k := range kills {
		enough := sent() + rand.Int64N(2*int64(effects)/int64(kills+2))
		w.eventually("messages are sent", func() string {
			return unless(sent() > enough || w.rows(unsettled) == "", "%d of %d", sent(), enough)
		})
		if err := w.end(p, syscall.SIGKILL); err == nil {
			t.Errorf("the program survived kill %d", k+1)
		}
		// The leases expire.
		if _, err := w.db.Exec(t.Context(), `update eventstore.deliveries set lease_until = now()
			where state = 'sending'`); err != nil {
			t.Fatal(err)
		}
		p = w.serve()
	}
	w.eventually("everything comes to rest", func() string { return w.rows(unsettled) })
	if err := w.end(p, syscall.SIGTERM); err != nil {
		t.Errorf("asked to stop, the program ends with %v", err)
	}
	if w.agree(chats, effects) == 0 {
		t.Error("no kill came between a request and its record: this run proves nothing")
	}
}

// write lets an operator write n messages, in turn to each of the chats.
func (w *world) write(chats, n int) {
	w.t.Helper()
	store, err := eventstore.Open(w.t.Context(), w.dsn, "desk", chat.NewCodec())
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	handler := commands.NewHandler(store, commands.Config{})
	defer handler.Close()
	requests := make([]commands.Request, n)
	for i := range requests {
		requests[i] = commands.Request{Stream: domain.ChatStream("demo", int64(i%chats+1)),
			Actor: "operator:ann", At: clock.Now(),
			Command: chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "ann"}, Text: fmt.Sprintf("message %04d", i)}}
	}
	if _, err := handler.HandleAll(w.t.Context(), requests); err != nil {
		w.t.Fatal(err)
	}
	for chat := range chats {
		w.openChat(int64(chat + 1))
	}
}

// agree compares the messages that arrived in the chats from 1 on with the ledger. It returns how many may
// have arrived twice or not at all, and are marked so.
func (w *world) agree(chats, effects int) (marked int) {
	w.t.Helper()
	arrived := map[string]int{}
	for chat := range chats {
		said := w.texts(int64(chat+1), "bot")
		for _, text := range said {
			arrived[text]++
		}
		if once := slices.Compact(slices.Clone(said)); !slices.IsSorted(once) {
			w.t.Errorf("chat %d has its messages in the order %q", chat+1, said)
		}
	}
	var once, twice, doubtful, unknown, unheard, lost int
	for _, row := range strings.Split(w.rows(`select payload->>'text', state, unsure from eventstore.deliveries
		where kind = 'telegram.sendMessage'`), "; ") {
		column := strings.Split(row, ", ")
		text, state, unsure, n := column[0], column[1], column[2], arrived[column[0]]
		delete(arrived, text)
		switch {
		case n == 0 && state != "unknown":
			lost++
		case state == "unknown" && n <= 2:
			unknown++
			if n == 0 {
				unheard++
			}
		case state == "done" && n == 1 && unsure == "0":
			once++
		case state == "done" && n == 1 && unsure != "0":
			doubtful++
		case state == "done" && n == 2 && unsure != "0":
			twice++
		default:
			w.t.Errorf("%s arrived %d times; the ledger says %s, %s attempts unsure", text, n, state, unsure)
		}
	}
	w.t.Logf("sent once %d, sent twice and marked %d, marked and yet sent once %d, "+
		"unknown %d (%d of them did not arrive), lost %d", once, twice, doubtful, unknown, unheard, lost)
	if lost > 0 || len(arrived) > 0 || once+twice+doubtful+unknown != effects {
		w.t.Errorf("of %d effects %d are lost; %v arrived that nobody asked for", effects, lost, arrived)
	}
	// The events say the same as the rows.
	w.wantRows("0", `
		select count(*) from eventstore.deliveries d where d.kind = 'telegram.sendMessage' and 1 <> (
			select count(*) from eventstore.events e
			where e.causation_id = d.delivery_id and coalesce((e.payload->>'unsure')::int, 0) = d.unsure
			  and case d.state when 'done' then e.name = 'delivery_succeeded' else e.payload->>'outcome' = d.state end)`)
	w.gapless()
	w.clean()
	return twice + doubtful + unknown
}

// A chat whose messages always fail, and one whose message takes longer than everything else together, do
// not delay other chats.
func TestDelivery_OneChatFails_OthersContinue(t *testing.T) {
	t.Parallel()
	const slow, failing, others = 7, 8, 40
	w := newWorld(t)
	defer w.Close() // ends the slow call
	w.answers(50, 5)
	calm := w.answers(100, others)
	w.SetFaults(telegramsim.Fault{Method: "sendMessage", Chat: slow, DelayMS: 9_000},
		telegramsim.Fault{Method: "sendMessage", Chat: failing, Status: http.StatusBadGateway})
	w.Say(slow, "hello")
	w.Say(slow, "thank you")
	w.Say(failing, "hello")
	w.Say(failing, "thank you")
	const states = `select string_agg(stream_id || ' ' || state, ', ' order by stream_id, seq) from eventstore.deliveries
		where stream_id in ('chat-demo:7', 'chat-demo:8') and state <> 'done'`
	w.eventually("one is slow and the other has failed", func() string {
		row := w.rows(`select count(*) from eventstore.deliveries where stream_id = 'chat-demo:7' and state = 'sending'
			or stream_id = 'chat-demo:8' and reason like '%502%'`)
		return unless(row == "2", "%s", w.rows(states))
	})
	busy := w.answers(200, others)
	// All others have their answers; the first one of the slow chat has not arrived yet.
	const held = "chat-demo:7 sending, chat-demo:7 waiting, "
	if got := w.rows(states); got != held+"chat-demo:8 waiting, chat-demo:8 waiting" &&
		got != held+"chat-demo:8 sending, chat-demo:8 waiting" {
		t.Errorf("meanwhile %s", got)
	}
	t.Logf("the slowest but one of %d answers took %s, and %s beside the slow and the failing one", others, calm, busy)
}

// answers lets n customers write at the same time, waits for each answer, and returns the 95th percentile
// of the times.
func (w *world) answers(first, n int64) time.Duration {
	w.t.Helper()
	times := make([]time.Duration, n)
	begun := time.Now()
	for i := range n {
		w.Say(first+i, "hello")
	}
	for i := range n {
		if _, err := w.Await(w.t.Context(), first+i, 1); err != nil {
			w.t.Fatal(err)
		}
		times[i] = time.Since(begun)
	}
	slices.Sort(times)
	return times[n*95/100]
}

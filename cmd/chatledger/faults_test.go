package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/projections"
)

func TestBotAPI_Faults_Handled(t *testing.T) {
	t.Parallel()
	const hello = "Hello! What can I do for you?"
	for name, c := range map[string]struct {
		fault        telegramsim.Fault
		soonest      time.Duration
		least, most  int    // replies that arrive
		delivery     string // its row: state, attempts, unsure
		conversation string // replies, failed_deliveries, awaiting_delivery, blocked
	}{
		"429 is obeyed": {telegramsim.Fault{Status: 429, RetryAfter: 1, Count: 1}, time.Second, 1, 1,
			"done, 1, 0", "1, 0, 0, false"},
		"429 without seconds backs off": {telegramsim.Fault{Status: 429, NoSeconds: true, Count: 2}, 3 * time.Second, 1, 1,
			"done, 1, 0", "1, 0, 0, false"},
		"a gateway's 502 is retried": {telegramsim.Fault{Status: 502, HTML: true, Count: 3}, 0, 1, 1,
			"done, 4, 3", "1, 0, 0, false"},
		"a gateway's 200 is retried": {telegramsim.Fault{Status: 200, HTML: true, Count: 3}, 0, 1, 1,
			"done, 4, 3", "1, 0, 0, false"},
		"500 twice":    {telegramsim.Fault{Status: 500, Count: 2}, 0, 1, 1, "done, 3, 0", "1, 0, 0, false"},
		"403 is final": {telegramsim.Fault{Status: 403}, 0, 0, 0, "refused, 1, 0", "0, 1, 0, true"},
		"400 is final": {telegramsim.Fault{Status: 400}, 0, 0, 0, "refused, 1, 0", "0, 1, 0, false"},
		"a lost answer is sent again": {telegramsim.Fault{DropReply: true, Count: 1}, 0, 1, 2,
			"done, 2, 1", "1, 0, 0, false"},
		"two lost answers are unknown": {telegramsim.Fault{DropReply: true}, 0, 1, 2, "unknown, 2, 2", "0, 1, 0, false"},
		"a slow answer is waited for": {telegramsim.Fault{DelayMS: 300, Count: 1}, 300 * time.Millisecond, 1, 1,
			"done, 1, 0", "1, 0, 0, false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.fault.Method, c.fault.Chat = "sendMessage", 7
			w.AddFault(c.fault)
			begun := time.Now()
			w.Say(7, "hello")
			w.Say(8, "hello")
			// The other chat is not affected.
			if _, err := w.Await(t.Context(), 8, 1); err != nil {
				t.Fatal(err)
			}
			w.settle()
			if took := time.Since(begun); took < c.soonest {
				t.Errorf("at rest after %v, want %v at least", took, c.soonest)
			}
			said := w.texts(7, "bot")
			if n := len(said); n < c.least || n > c.most {
				t.Errorf("%d replies arrived, want %d to %d", n, c.least, c.most)
			}
			for _, text := range said {
				if text != hello {
					t.Errorf("the reply is %q", text)
				}
			}
			w.wantRows(c.delivery,
				`select state, attempts, unsure from eventstore.deliveries where stream_id = 'chat-demo:7'`)
			w.wantRows(c.conversation, `select replies, failed_deliveries, awaiting_delivery, blocked
				from readmodel.conversations where chat_id = 7`)
			w.wantRows("1, 0", `select replies, failed_deliveries from readmodel.conversations where chat_id = 8`)
			w.clean()
		})
	}
}

// Replies of one chat keep their order while the first of them is postponed, and an answer to a button
// does not wait behind them.
func TestReply_Postponed_NotOvertaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Status: 500, Count: 1})
	w.Say(7, "/help")
	w.Say(7, "hello")
	w.Say(7, "thank you")
	w.settle()
	said := w.texts(7, "bot")
	if len(said) != 3 || !strings.HasPrefix(said[0], "You can write") || said[1] != "Hello! What can I do for you?" ||
		said[2] != "You're welcome!" {
		t.Errorf("the bot says %q", said)
	}

	w.AddFault(telegramsim.Fault{Method: "sendMessage", Status: 429, RetryAfter: 3600, Count: 1})
	w.Say(7, "hello")
	w.eventually("the reply is postponed", func() string {
		return unless(w.Stats().Calls["sendMessage"]["429"] == 1, "%v", w.Stats().Calls)
	})
	w.Press(7, 1, "anything")
	w.eventually("the button is answered", func() string {
		return unless(w.Stats().Calls["answerCallbackQuery"]["200"] == 1, "%v", w.Stats().Calls)
	})
	w.wantRows("1", `select count(*) from eventstore.deliveries where kind = 'telegram.sendMessage'
		and state in ('waiting', 'sending')`)
}

// A customer's own update shows that the bot is blocked, and later that it is unblocked.
func TestChat_BlockedAndUnblocked_Followed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(7, "hello")
	w.settle()
	for _, c := range []struct {
		status, blocked string
	}{{"kicked", "true"}, {"member", "false"}} {
		w.Post(map[string]any{"my_chat_member": map[string]any{"chat": map[string]any{"id": 7, "type": "private"},
			"date":            time.Now().Unix(),
			"new_chat_member": map[string]any{"status": c.status}}})
		w.settle()
		w.wantRows(c.blocked, `select blocked from readmodel.conversations where chat_id = 7`)
	}
	w.Say(7, "hello")
	w.settle()
	if said := w.texts(7, "bot"); len(said) != 2 {
		t.Errorf("the bot says %q", said)
	}
	w.clean()
}

// When its database fails, chatledger reports it within 5 s and Telegram keeps the updates; afterwards
// every update is stored once.
func TestOutage_DatabaseReturns_NothingLost(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]wireState{"refused": cut, "silent": stalled} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			w := newTown(t, dsn)
			line, address := newWire(t, dsn)
			w.running = w.start(address)
			w.register()
			w.Say(7, "hello")
			w.settle()

			line.set(state)
			begun := time.Now()
			status, retryAfter, err := post(w.url, messageUpdate(1, 9, 1, "hello"))
			took := time.Since(begun)
			if seconds, numErr := strconv.Atoi(retryAfter); err != nil || status != http.StatusServiceUnavailable ||
				numErr != nil || seconds < 1 {
				t.Errorf("answered %d, Retry-After %q (%v)", status, retryAfter, err)
			}
			if took > 5*time.Second {
				t.Errorf("answered after %v", took)
			}
			if status, body, err := get(w.url + "/readyz"); err != nil || status != http.StatusServiceUnavailable ||
				!strings.Contains(body, `"ready":false`) || !strings.Contains(body, "database") {
				t.Errorf("readyz: %d %s (%v)", status, body, err)
			}
			if status, _, err := get(w.url + "/healthz"); err != nil || status != http.StatusOK {
				t.Errorf("healthz: %d (%v)", status, err)
			}
			w.Say(7, "thank you")
			w.Say(8, "hello")
			w.eventually("Telegram tries again", func() string {
				return unless(w.Stats().Updates.Retried >= 2, "%+v", w.Stats().Updates)
			})
			if got := w.Stats().Updates; got.Delivered != 1 || got.Pending != 2 || got.Expired != 0 {
				t.Errorf("meanwhile %+v", got)
			}

			line.set(through)
			w.settle()
			if status, body, err := get(w.url + "/readyz"); err != nil || status != http.StatusOK {
				t.Errorf("readyz: %d %s (%v)", status, body, err)
			}
			if got := w.Stats().Updates; got.Delivered != 3 || got.Expired != 0 {
				t.Errorf("afterwards %+v", got)
			}
			for chat, want := range map[int64]int{7: 2, 8: 1} {
				if said := w.texts(chat, "bot"); len(said) != want {
					t.Errorf("chat %d: the bot says %q, want %d replies", chat, said, want)
				}
			}
			w.wantRows("chat-demo:7, 2; chat-demo:8, 1", `select stream_id, count(*) from eventstore.events
				where name = 'message_received' and stream_id <> 'chat-demo:9' group by 1 order by 1`)
			w.gapless()
			w.clean()
		})
	}
}

// A server whose database has failed stops when it gets the signal.
func TestStop_DatabaseDown_Stops(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	w := newTown(t, dsn)
	line, address := newWire(t, dsn)
	r := w.start(address)
	line.set(cut)
	begun := time.Now()
	r.stop()
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// leaders returns the server's processes that lead a consumer group, by group.
const leaders = `select string_agg(l.consumer_group || ' ' || l.pid, ', ' order by l.consumer_group)
	from eventstore.leaders l join pg_stat_activity a on a.pid = l.pid and a.backend_start = l.backend_start`

// groups is the number of consumer groups: one for each table, and two that act.
var groups = len(projections.All()) + 2

// leading returns how many of them have a leader.
func leading(leaders string) int { return strings.Count(leaders, ",") + 1 }

// takesOver fails unless other processes lead every group within 5 s. How soon they have read the feed
// depends on the writes of other tests on the same server as well.
func (w *world) takesOver(led string) {
	w.t.Helper()
	eventually(w.t, 5*time.Second, "others lead every group", func() string {
		now := w.rows(leaders)
		stays := slices.ContainsFunc(strings.Split(led, ", "),
			func(leader string) bool { return strings.Contains(now, leader) })
		return unless(leading(now) == groups && !stays, "%s; before %s", now, led)
	})
}

// With two processes on one database, one consumes each group. When its connections are cut the other
// takes over within 5 s, and no reply is lost or sent twice.
func TestLeader_Stops_OtherTakesOver(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*wire, *running){
		"cut off": func(line *wire, _ *running) { line.set(cut) },
		"stopped": func(_ *wire, first *running) { first.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			w := newTown(t, dsn)
			line, address := newWire(t, dsn)
			first := w.start(address)
			w.eventually("the first leads every group", func() string {
				return unless(leading(w.rows(leaders)) == groups, "%s", w.rows(leaders))
			})
			led := w.rows(leaders)
			w.running = w.start(dsn)
			w.register() // its webhook is the second's

			for chat := range int64(5) {
				w.Say(10+chat, "hello")
			}
			w.settle()
			if got := w.rows(leaders); got != led {
				t.Errorf("leaders changed while both lived:\n%s\n%s", led, got)
			}
			end(line, first)
			for chat := range int64(5) {
				w.Say(10+chat, "thank you")
			}
			w.takesOver(led)
			w.settle()
			for chat := range int64(5) {
				if said := w.texts(10+chat, "bot"); len(said) != 2 {
					t.Errorf("chat %d: the bot says %q", 10+chat, said)
				}
			}
			// Every group has read every event once.
			w.wantRows(fmt.Sprintf("%d, true, true", groups), `select count(*),
				min(events) = (select count(*) from eventstore.events), max(events) = min(events)
				from eventstore.checkpoints`)
			w.clean()
		})
	}
}

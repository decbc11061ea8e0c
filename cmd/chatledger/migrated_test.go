package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
)

// A group that becomes a supergroup, under its old and its new id.
const (
	oldGroup   = -4000000001
	supergroup = -1001900000001
)

// reply lets an operator write in a chat.
func (w *world) reply(chat int64, text string) {
	w.t.Helper()
	if code, _, stderr := w.cli("ticket", "reply", "--as", "ann", fmt.Sprintf("demo:%d", chat), text); code != 0 {
		w.t.Fatalf("reply %q: %s", text, stderr)
	}
}

// events returns the names of a chat's events.
func (w *world) events(chat int64) []string {
	return strings.Split(w.rows(`select name from eventstore.events where stream_id = $1 order by version`,
		fmt.Sprintf("chat-demo:%d", chat)), "; ")
}

func TestMigration_EitherReportFirst_TicketContinues(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(*world){
		"both chats say so":           func(w *world) { w.Migrate(oldGroup, supergroup) },
		"the supergroup says so":      func(w *world) { w.SayMigrated(supergroup) },
		"the group says so":           func(w *world) { w.SayMigrated(oldGroup) },
		"the supergroup is the first": func(w *world) { w.SayMigrated(supergroup); w.settle(); w.SayMigrated(oldGroup) },
		"a message is refused":        func(w *world) { w.reply(oldGroup, "One moment please.") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Say(oldGroup, "I want to talk to a person")
			w.settle()
			if code, _, stderr := w.cli("ticket", "assign", fmt.Sprintf("demo:%d", oldGroup), "ann"); code != 0 {
				t.Fatal(stderr)
			}
			due := w.rows(`select due_at::text from readmodel.tickets`)

			w.Upgrade(oldGroup, supergroup)
			move(w)
			w.settle()
			w.Say(supergroup, "where is my order 1001?")
			w.settle()
			w.wantRows(fmt.Sprintf("demo:%d#1, assigned, ann, high, I want to talk to a person, %s", supergroup, due),
				`select ticket_id, status, assignee, priority, subject, due_at::text from readmodel.ticket_queue`)
			w.wantRows(fmt.Sprintf("%d, bot; %d, person", oldGroup, supergroup),
				`select chat_id, handler from readmodel.conversations order by chat_id desc`)

			w.reply(oldGroup, "To the old id.")
			w.reply(supergroup, "To the new one.")
			w.settle()
			w.Migrate(oldGroup, supergroup) // what was said before, and the rest
			w.settle()
			var said []string
			for _, text := range w.texts(supergroup, "bot") {
				if text != "One moment please." {
					said = append(said, text)
				}
			}
			if diff := cmp.Diff([]string{"To the old id.", "To the new one."}, said); diff != "" {
				t.Errorf("in the supergroup (-want +got):\n%s", diff)
			}
			for chat, event := range map[int64]string{oldGroup: "chat_migrated", supergroup: "chat_continued"} {
				if n := strings.Count(strings.Join(w.events(chat), " "), event); n != 1 {
					t.Errorf("%d times %s in %d: %q", n, event, chat, w.events(chat))
				}
			}
			w.clean()
			w.replaysAsItWas()
		})
	}
}

func TestMigration_PendingDeliveries_SentFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(oldGroup, "hello")
	w.settle()
	w.SetFaults(telegramsim.Fault{Method: "sendMessage", Chat: oldGroup, Status: http.StatusInternalServerError})
	want := []string{"one", "two", "three"}
	for _, text := range want {
		w.reply(oldGroup, text)
	}
	w.eventually("the first is refused", func() string {
		return unless(w.rows(`select count(*) from eventstore.deliveries where reason like '%Internal Server Error%'`) == "1",
			"%s", w.rows(unsettled))
	})
	w.Migrate(oldGroup, supergroup)
	w.eventually("the line has moved", func() string {
		return unless(w.rows(`select count(*) from eventstore.deliveries where ordering_key = $1`,
			fmt.Sprintf("chat-demo:%d", supergroup)) == "3", "%s", w.rows(unsettled))
	})
	w.Say(supergroup, "where is my order 1001?")
	w.settle()
	said := w.texts(supergroup, "bot")
	if len(said) != 4 || !slices.Equal(said[:3], want) || !strings.HasPrefix(said[3], "Order 1001") {
		t.Errorf("in the supergroup: %q", said)
	}
	if got := w.texts(oldGroup, "bot"); len(got) != 1 {
		t.Errorf("in the group: %q", got)
	}
	w.wantRows("0", `select count(*) from eventstore.deliveries where state <> 'done'`)
}

func TestMigration_SeenByDelivery_OrderKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(oldGroup, "hello")
	w.settle()
	w.Upgrade(oldGroup, supergroup) // and nobody says so
	var want []string
	for i := range 5 {
		want = append(want, fmt.Sprintf("number %d", i))
		w.reply(oldGroup, want[i])
	}
	w.settle()
	if diff := cmp.Diff(want, w.texts(supergroup, "bot")); diff != "" {
		t.Errorf("in the supergroup (-want +got):\n%s", diff)
	}
	w.wantRows("0, 0", `select count(*) filter (where state <> 'done'), sum(unsure) from eventstore.deliveries`)
}

func TestMigration_OpenQuestion_AskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(oldGroup, "I want to change my billing address")
	w.settle()
	w.Say(oldGroup, "12 Baker Street, London NW1 6XE")
	w.settle()
	w.Upgrade(oldGroup, supergroup)
	w.Migrate(oldGroup, supergroup)
	w.settle()
	asked := w.Messages(supergroup)
	if len(asked) == 0 || button(asked[len(asked)-1], "Yes, change it") == "" {
		t.Fatalf("in the supergroup: %+v", asked)
	}
	last := asked[len(asked)-1]
	w.Press(supergroup, last.MessageID, button(last, "Yes, change it"))
	w.settle()
	said := w.texts(supergroup, "bot")
	if !strings.HasPrefix(said[len(said)-1], "Done: your billing address is now 12 Baker Street") {
		t.Errorf("in the supergroup: %q", said)
	}
	w.wantRows("handed_over; completed", `select step from readmodel.conversations order by chat_id desc`)
	w.clean()
	w.replaysAsItWas()
}

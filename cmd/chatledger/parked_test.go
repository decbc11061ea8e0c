package main

import (
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/domain/chat"
)

// A parked stream can be named like a chat.
func TestParked_ChatName_FindsTheStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rows(`insert into eventstore.parked (consumer_group, stream_id, version, transaction_id, position, event, reason,
		tries, parked_at, last_try_at)
		values ('outbox', 'chat-demo:42', 3, '7', 9, 'reply_queued', 'cannot be handled', 3, now(), now()) returning 1`)
	for _, name := range []string{"demo:42", "chat-demo:42"} {
		code, stdout, stderr := w.cli("parked", "show", "outbox", name)
		if code != 0 || !strings.Contains(stdout, "cannot be handled") {
			t.Errorf("parked show outbox %s: exit %d, %s%s", name, code, stdout, stderr)
		}
	}
	code, stdout, stderr := w.cli("parked", "show", "outbox", "demo:43")
	if code != 1 || !strings.Contains(stderr, "chat-demo:43 is not parked in group outbox") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
}

// verify names the stream with the unknown event and compares the others; rebuild leaves it out from there
// on, and parks it for the new table.
func TestParked_UnknownEvent_VerifyAndRebuildGoOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(42, "hello")
	w.Say(43, "hello")
	w.settle()
	w.land(42)
	w.Say(43, "and again") // it wakes the groups
	waittest.Until(t, "the stream is parked", func() bool {
		return w.rows(`select count(*) from eventstore.parked where consumer_group = 'conversations'`) == "1"
	})
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"events"}, 0, `{"unreadable":"unknown event moon_landed@3`},
		{[]string{"events", "--stream", "demo:42"}, 0, "moon_landed "},
		{[]string{"verify", "conversations"}, 1, "conversations: chat-demo:42 is folded up to version "},
		{[]string{"rebuild", "conversations"}, 0, "moon_landed, version "},
		{[]string{"verify", "conversations"}, 1, "`chatledger parked show conversations chat-demo:42` shows it"},
		{[]string{"parked", "show", "conversations", "demo:42"}, 0, "unknown event moon_landed@3"},
	} {
		code, stdout, stderr := w.cli(c.args...)
		if code != c.code || !strings.Contains(stdout, c.want) {
			t.Errorf("%v: exit %d, %s%s; want %d and %s", c.args, code, stdout, stderr, c.code, c.want)
		}
	}
}

// One log line names the group, stream, version, event and reason of a parked stream. An update for the
// chat is kept and acknowledged meanwhile. An older program says at its start that it is older than the
// stored events.
func TestParked_UnknownEvent_LoggedAndUpdatesKept(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	var log waittest.Log
	logged := func(c *server.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) }
	w.running = w.start(w.dsn, logged)
	w.register()
	w.Say(42, "hello")
	w.settle()
	w.land(42)
	w.Say(43, "hello") // it wakes the groups
	w.eventually("every group says so in one line", func() string {
		for _, group := range server.ConsumerGroups() {
			line := regexp.MustCompile(`(?m)^.* level=ERROR msg="stream parked; .*group=` + group +
				` stream=chat-demo:42 version=\d+ event=moon_landed error="unknown event moon_landed@3.*$`)
			if !line.MatchString(log.String()) {
				return "not " + group
			}
		}
		return ""
	})
	w.stop()
	w.running = w.start(w.dsn, logged) // with nothing in memory
	w.eventually("it says that it is older", func() string {
		return unless(strings.Contains(log.String(), "this program is older than the stored events"), "%s", log.String())
	})
	w.mustPost(messageUpdate(900_001, 42, 900, "are you there?"))
	w.wantRows("true", `select reason like '%unknown event moon_landed@3%' from eventstore.quarantine`)
	w.mustPost(messageUpdate(900_002, 44, 900, "hello"))
	w.eventually("another chat is answered", func() string {
		return unless(w.rows(`select count(*) from eventstore.events where stream_id = 'chat-demo:44'
			and name = 'reply_queued'`) == "1", "it is not")
	})
}

// While a chat cannot be read, no delivery is sent whose outcome could not be recorded, and acts of agents
// in Zendesk are kept. Afterwards the waiting deliveries are sent once.
func TestParked_UnreadableChat_DeliveriesWait(t *testing.T) {
	t.Parallel()
	w, _ := newWorldWithZendesk(t)
	w.Say(42, "I want to talk to a person")
	w.settle()
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Chat: 42, Status: 500})
	w.queue(42, chat.ReplyQueued{Text: "Hello, this is Ann."})
	const reply = `select state, reason from eventstore.deliveries where payload ->> 'text' = 'Hello, this is Ann.'`
	w.eventually("the reply waits", func() string {
		return unless(strings.HasPrefix(w.rows(reply), "waiting, error"), "%s", w.rows(reply))
	})
	w.stop()
	w.land(42)
	w.ClearFaults()
	sent := w.sent()
	w.exec(`update eventstore.deliveries set next_attempt = now() where state = 'waiting'`)
	w.running = w.start(w.dsn, func(c *server.Config) { c.Log = slog.New(slog.DiscardHandler) })
	w.register()
	w.eventually("the reply goes on waiting", func() string {
		return unless(strings.Contains(w.rows(reply), "unknown event moon_landed@3"), "%s", w.rows(reply))
	})
	const comment = `{"event": "public_comment", "external_id": "chat-demo:42/#1", "ticket_id": "7", "author": "Maria", ` +
		`"comment_id": "9", "body": "Hi.", "updated_at": "2026-05-01T12:00:00Z"}`
	if status := w.postZendesk("demo", dev.Secret, comment); status != http.StatusOK {
		t.Errorf("Zendesk's event is answered %d", status)
	}
	w.wantRows("zendesk:demo, true", `select bot, reason like '%unknown event moon_landed@3%' from eventstore.quarantine`)
	if n := w.sent() - sent; n > 0 {
		t.Errorf("%d messages were sent", n)
	}

	w.exec(`delete from eventstore.events where name = 'moon_landed'`)
	w.exec(`update eventstore.deliveries set next_attempt = now() where state = 'waiting'`)
	w.eventually("the reply is sent", func() string {
		return unless(strings.HasPrefix(w.rows(reply), "done"), "%s", w.rows(reply))
	})
	if n := w.sent() - sent; n != 1 {
		t.Errorf("%d messages were sent, want 1", n)
	}
}

// The state of a long chat at an early version is printed without reading the later events, which may be
// unreadable.
func TestState_EarlyVersion_RestNotRead(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	w.exec(`insert into eventstore.streams values ('chat-demo:42')`)
	w.exec(`
		insert into eventstore.events (stream_id, version, event_id, name, event_version, payload,
		correlation_id, actor, occurred_at)
		select 'chat-demo:42', v, gen_random_uuid(), case when v > 10 then 'moon_landed' else 'chat_continued' end,
		1, '{}', gen_random_uuid(), 'bot', now()
		from generate_series(1, 3000) v`)
	if code, stdout, stderr := w.cli("state", "demo:42", "--version", "10"); code != 0 || !strings.Contains(stdout, "10") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
}

// land stores an event of an unknown type for a chat.
func (w *world) land(chat int64) {
	w.t.Helper()
	w.rows(`
		insert into eventstore.events (stream_id, version, event_id, name, event_version, payload,
		correlation_id, actor, occurred_at)
		select stream_id, max(version) + 1, gen_random_uuid(), 'moon_landed', 3, '{}', gen_random_uuid(), 'bot', now()
		from eventstore.events where stream_id = $1 group by stream_id returning 1`, "chat-demo:"+strconv.FormatInt(chat, 10))
}

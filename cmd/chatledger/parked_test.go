package main

import (
	"strconv"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/waittest"
)

// A parked stream is named as a chat is named elsewhere.
func TestParked_ChatName_FindsTheStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rows(`insert into eventstore.parked (consumer_group, stream_id, version, transaction_id, position, event, reason, tries, parked_at, last_try_at)
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

// verify names the stream whose event it does not know and compares the others; rebuild leaves it out
// from there on, and parks it for the new table.
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

// land stores an event of an unknown type for a chat.
func (w *world) land(chat int64) {
	w.t.Helper()
	w.rows(`
		insert into eventstore.events (stream_id, version, event_id, name, event_version, payload, correlation_id, actor, occurred_at)
		select stream_id, max(version) + 1, gen_random_uuid(), 'moon_landed', 3, '{}', gen_random_uuid(), 'bot', now()
		from eventstore.events where stream_id = $1 group by stream_id returning 1`, "chat-demo:"+strconv.FormatInt(chat, 10))
}

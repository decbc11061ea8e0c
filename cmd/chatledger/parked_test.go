package main

import (
	"strings"
	"testing"
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

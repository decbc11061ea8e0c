package main

import (
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/cmd/internal/config"
)

// The role of serve may not change an event, and still removes its update.
func TestRetention_Expired_Deleted(t *testing.T) {
	t.Parallel()
	r := newRanks(t, "retains")
	w := newTown(t, r.admin, func(b *config.Bot) {
		b.Retention = config.Retention{Raw: config.Keep(90 * 24 * time.Hour), Quarantine: config.Keep(30 * 24 * time.Hour)}
	})
	first := w.start(r.app)
	w.running = first
	w.register()
	w.Say(42, "Where is my order 1001?")
	w.mustPost(`{"no": "update"}`)
	w.settle()
	first.stop()

	w.rows(`update eventstore.events set recorded_at = recorded_at - interval '91 days'`)
	w.rows(`update eventstore.quarantine set received_at = received_at - interval '31 days'`)
	w.rows(`update eventstore.inbox set received_at = received_at - interval '7 days'`)
	w.dsn = r.app
	w.running = w.start(r.app)
	w.register()
	w.eventually("what was kept for long enough is gone", func() string {
		left := w.rows(`select (select count(*) from eventstore.events where raw ? 'update_id'),
			(select count(*) from eventstore.quarantine), (select count(*) from eventstore.inbox)`)
		return unless(left == "0, 0, 0", "left: %s", left)
	})
	w.eventually("it is counted", func() string {
		_, body, err := get(w.url + "/metrics")
		for _, line := range []string{`{bot="demo",what="updates"} 1`, `{bot="demo",what="quarantine"} 1`,
			`{bot="",what="inbox"} 1`} {
			if !strings.Contains(body, "chatledger_removed_rows_total"+line) {
				return line + " is missing"
			}
		}
		return unless(err == nil, "%v", err)
	})
	w.Say(42, "And order 1002?")
	w.settle()
	w.wantRows(`{"$removed": true}; `+w.rows(`select raw::text from eventstore.events where raw ? 'update_id'`),
		`select raw::text from eventstore.events where raw is not null order by position`)
	w.clean()
	if code, stdout, stderr := w.cli("why", "conversations", "chat-demo:42"); code != 0 {
		t.Errorf("why: %d %s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := w.cli("replay", "--sandbox"); code != 1 ||
		!strings.Contains(stderr, "run it as the database's owner, or as a role that may create schemas") {
		t.Errorf("replay as the app: %d %s%s", code, stdout, stderr)
	}
	w.dsn = r.owner
	if code, stdout, stderr := w.cli("replay", "--sandbox"); code != 0 {
		t.Errorf("replay: %d %s%s", code, stdout, stderr)
	}
}

// A change of the bots file is applied as soon as the file is read again. A bot that is removed from it
// keeps everything, however short its retention was.
func TestRetention_BotsFileChanges_Followed(t *testing.T) {
	t.Parallel()
	w := newBotsTown(t, "first", "second")
	w.write(plain("first", 0), plain("second", 1))
	w.serveFile()
	file, err := config.Read(w.file)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range file.Bots {
		w.point(name, b)
		w.answers(name, 7, "Where is my order 1001?", "Order 1001")
		if got := postTo(t, w.url+"/webhook/"+name, "secret-of-"+name); got != 200 {
			t.Fatalf("rubbish is answered %d", got)
		}
	}
	w.settle()
	w.rows(`update eventstore.events set recorded_at = recorded_at - interval '91 days'`)
	w.rows(`update eventstore.quarantine set received_at = received_at - interval '31 days'`)
	const left = `
		select (select string_agg(distinct stream_id, ' ') from eventstore.events where raw ? 'update_id'),
			(select string_agg(distinct bot, ' ') from eventstore.quarantine)`
	w.wantRows("chat-first:7 chat-second:7, first second", left)

	const short = "retention: {raw: 90d, quarantine: 30d}"
	w.write(plain("first", 0, short))
	w.logged("changed=[first] removed=[second]")
	w.eventually("what the one bot keeps no longer is gone", func() string {
		now := w.rows(left)
		return unless(now == "chat-second:7, second", "left: %s", now)
	})
	w.write(plain("first", 0, short), plain("second", 1))
	w.logged("added=[second]")
	w.wantRows("chat-second:7, second", left)
	w.write(plain("first", 0, short), plain("second", 1, short))
	w.eventually("the other follows", func() string {
		now := w.rows(left)
		return unless(now == "null, null", "left: %s", now)
	})
	w.clean()
}

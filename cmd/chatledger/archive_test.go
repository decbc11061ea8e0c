package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/archive"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/importer"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/admin/transfer"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/projections"
)

// wholeLedger selects everything that an import must restore, in feed order: all of an event except its
// position, the rows that recognize updates, and the start of each stream.
const wholeLedger = `
	select e.stream_id, e.version, e.event_id::text, e.name, e.event_version, e.payload::text, e.raw::text,
	e.causation_id::text, e.correlation_id::text,
		e.actor, e.occurred_at, e.recorded_at, i.bot, i.update_id, s.created_at is null
	from eventstore.events e
	left join eventstore.inbox i using (stream_id, version)
	left join eventstore.streams s using (stream_id)
	order by e.transaction_id, e.position`

// livedIn is a store with updates of every kind and a few conversations; nobody works in it any more.
func livedIn(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	paths, err := filepath.Glob("../../adapters/telegram/testdata/updates/*.json")
	if err != nil || len(paths) < 50 {
		t.Fatalf("%d fixtures: %v", len(paths), err)
	}
	for _, path := range paths {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		w.mustPost(string(body))
	}
	w.mustPost(`{"update_id":77,"message":{"message_id":1,"date":1,"chat":{"id":77,"type":"private"},` +
		`"from":{"id":77,"first_name":"<Ada & \u2028>"},"text":"","extra":[1e400,-2.50,1e999999,""]}}`)
	for i, text := range []string{"where is my order 1001?", "change billing address", "12 Baker Street, London NW1 6XE",
		"yes", "I want to talk to a human!"} {
		w.Say(500, text)
		w.Say(501+int64(i), text)
	}
	w.settle()
	w.running.stop()
	return w
}

// run runs a subcommand that must succeed, and ignores its progress.
func (w *world) run(args ...string) (stdout string) {
	w.t.Helper()
	code, stdout, stderr := w.cli(args...)
	if code != 0 {
		w.t.Fatalf("chatledger %s: exit %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

func TestArchive_RoundTrip_IsEqual(t *testing.T) {
	t.Parallel()
	from := livedIn(t)
	want := from.rows(wholeLedger)
	if n := strings.Count(want, "$base64"); n < 2 {
		t.Fatalf("only %d values are sealed", n)
	}
	for _, format := range []string{"ndjson", "cloudevents", "parquet"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "archive")
			from.run("export", "--to", dir, "--format", format, "--part-events", "40")
			to := newTown(t, pgtest.Database(t))
			if said := to.run("import", "--from", dir); strings.Count(said, "\n") != 2 ||
				!strings.Contains(said, "a workflow or a ticket in progress") {
				t.Errorf("no effect is open, and the import says %s", said)
			}
			wantSame(t, "store", want, to.rows(wholeLedger))
			wantSame(t, "archive", from.exported(), to.exported())
			to.running = to.start(to.dsn)
			to.settle()
			to.clean()
			to.gapless()
		})
	}
}

// wantSame fails if two long texts differ, and prints the place of the first difference.
func wantSame(t *testing.T, what, want, got string) {
	t.Helper()
	if want == got {
		return
	}
	at := 0
	for at < min(len(want), len(got)) && want[at] == got[at] {
		at++
	}
	t.Errorf("the %s differs:\n want ...%.300s\n got  ...%.300s", what, want[max(0, at-200):], got[max(0, at-200):])
}

// exported returns all events as a stream, without their positions.
func (w *world) exported() string {
	w.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(w.run("export", "--to", "-")) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			w.t.Fatal(err)
		}
		delete(fields, "transaction_id")
		delete(fields, "position")
		text, err := json.Marshal(fields)
		if err != nil {
			w.t.Fatal(err)
		}
		b.Write(append(text, '\n'))
	}
	return b.String()
}

// unfinished is a store with open work: one reply is sent; a reply, a look-up and the answer to a button
// have no outcome; one reply is a dead letter, another was retried by an operator, a third was skipped;
// and the responder has read up to chat 8, so that chat 9 waits.
func unfinished(t *testing.T) *world {
	t.Helper()
	w := newTown(t, pgtest.Database(t))
	store, err := eventstore.Open(t.Context(), w.dsn, "test", chat.NewCodec())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	put := func(chatID int64, events ...domain.Event) {
		a := commands.Append{Stream: domain.ChatStream("demo", chatID)}
		ids := map[string]uuid.UUID{}
		for i, e := range events {
			id := uuid.Must(uuid.NewV7())
			new := commands.NewEvent{ID: id, Event: e, Correlation: id, Actor: "test", OccurredAt: clock.Now()}
			switch e := e.(type) {
			case chat.MessageReceived:
				new.Raw = []byte(messageUpdate(e.ID, chatID, e.MessageID, e.Text))
				a.Updates = append(a.Updates, commands.ConsumedUpdate{Bot: "demo", ID: e.ID, Version: domain.Version(i + 1)})
			case chat.ReplyQueued:
				ids[e.Text] = id
			case chat.DeliverySucceeded:
				e.Delivery = ids["sent"]
				new.Event, new.Causation, new.Actor = e, e.Delivery, "delivery"
			case chat.DeliveryFailed:
				e.Delivery = ids[e.Reason]
				new.Event, new.Causation, new.Actor = e, e.Delivery, "delivery"
			case chat.DeliveryRetried:
				e.Delivery = ids[e.Reason]
				new.Event = e
			case chat.DeliverySkipped:
				e.Delivery = ids[e.Reason]
				new.Event = e
			}
			a.Events = append(a.Events, new)
		}
		if errs, err := store.Append(t.Context(), []commands.Append{a}); err != nil || errs[0] != nil {
			t.Fatal(errs, err)
		}
	}
	reply := func(text string) chat.ReplyQueued {
		return chat.ReplyQueued{Text: text, Author: chat.Author{Kind: chat.Bot}}
	}
	put(
		7, received(1), reply("sent"), chat.DeliverySucceeded{}, reply("not sent"),
		chat.ToolRequested{
			Call: 1, For: chat.ForWorkflow, Tool: dialog.OrderStatus,
			Input: map[string]string{"number": "1001"},
		},
		chat.ButtonAnswered{QueryID: "q"},
	)
	put(8, received(2), reply("dead"), chat.DeliveryFailed{Outcome: "dead", Reason: "dead", Held: true, Unsure: 2},
		reply("retried"), chat.DeliveryFailed{Outcome: "refused", Reason: "retried"}, chat.DeliveryRetried{Reason: "retried"},
		reply("skipped"), chat.DeliveryFailed{Outcome: "dead", Reason: "skipped", Held: true},
		chat.DeliverySkipped{Reason: "skipped"})
	w.exec(`insert into eventstore.checkpoints (consumer_group, transaction_id, position)
		select 'responder', transaction_id, position from eventstore.events order by transaction_id desc, position desc
		limit 1`)
	put(9, received(3))
	return w
}

// received is a message that greets.
func received(update int64) chat.MessageReceived {
	return chat.MessageReceived{
		Update: chat.Update{ID: update, Key: uint64(update)}, MessageID: 1, Date: clock.Now(), Text: "hello",
	}
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatal(err)
	}
}

func TestImport_OpenWork_SendsNothingAndKeepsAll(t *testing.T) {
	t.Parallel()
	from := unfinished(t)
	dir := filepath.Join(t.TempDir(), "archive")
	from.run("export", "--to", dir)
	w := newTown(t, pgtest.Database(t))
	said := w.run("import", "--from", dir)
	for _, want := range []string{"imported 16 events", "5 effects have no outcome", "the bot had not come to 1 messages",
		"chat-demo:9 version 1"} {
		if !strings.Contains(said, want) {
			t.Errorf("the import does not say %q but\n%s", want, said)
		}
	}
	deadLetters := strings.ReplaceAll(`chat-demo:7, 4, telegram.sendMessage, 1, NOT;`+
		` chat-demo:7, 5, orders.lookup, 1, NOT;`+
		` chat-demo:7, 6, telegram.answerCallbackQuery, 1, NOT;`+
		` chat-demo:8, 2, telegram.sendMessage, 2, dead; chat-demo:8, 4, telegram.sendMessage, 1, NOT`,
		"NOT", importer.NotSent)
	const open = `select stream_id, version, kind, unsure, reason from eventstore.deliveries
		where state = 'dead' and finished_at is null and attempts = 0 order by seq`
	w.wantRows(deadLetters, open)

	w.running = w.start(w.dsn)
	w.register()
	for _, chat := range []int64{7, 8, 9} {
		w.openChat(chat)
	}
	// Telegram repeats an update that the other server did not acknowledge.
	w.mustPost(messageUpdate(3, 9, 1, "hello"))
	w.Say(10, "hello")
	w.settle()
	w.wantRows("16", `select count(*) from eventstore.events where stream_id <> 'chat-demo:10'`)
	for chat, want := range map[int64]int{7: 0, 8: 0, 9: 0, 10: 1} {
		if got := w.texts(chat, "bot"); len(got) != want {
			t.Errorf("chat %d was sent %q", chat, got)
		}
	}
	w.wantRows(deadLetters, open)
	w.clean()

	// A new consumer group that acts on events must be named in policies; otherwise it would act on imported
	// events.
	w.wantRows(strings.Join(append(tableNames(), policies...), "; "),
		`select consumer_group from eventstore.checkpoints order by consumer_group = any($1), consumer_group`,
		policies)

	// An operator decides, and then the delivery is sent.
	w.run("deliveries", "retry", "--chat", "demo:7", "--as", "ann", "--why", "moved here")
	w.settle()
	if got := w.texts(7, "bot"); len(got) == 0 || got[0] != "not sent" {
		t.Errorf("after a retry chat 7 was sent %q", got)
	}
}

// Timers that became due while the archive was stored end silently; later ones go off as usual. An open
// workflow does not stay open for ever.
func TestImport_OverdueTimers_EndSilently(t *testing.T) {
	t.Parallel()
	from := newTown(t, pgtest.Database(t))
	from.running = from.start(from.dsn)
	from.register()
	from.Say(1, "I want to change my billing address")
	from.Say(2, "I want to talk to a human!")
	from.settle()
	from.running.stop()
	dir := filepath.Join(t.TempDir(), "archive")
	from.run("export", "--to", dir)

	const overdue = `select stream_id, name, coalesce(payload ->> 'step', payload ->> 'what'), actor from eventstore.events
		where name = 'due_breached' or payload ->> 'step' = 'expired' order by 1, version`
	ended := func(actor string) string {
		return strings.ReplaceAll(
			"chat-demo:1, workflow_moved, expired, BY; chat-demo:2, due_breached, first_response, BY; "+
				"chat-demo:2, due_breached, resolution, BY",
			"BY", actor,
		)
	}
	served := func(later time.Duration) *world {
		w := newTown(t, pgtest.Database(t))
		w.clock.pass(later)
		said := w.run("import", "--from", dir)
		if !strings.Contains(said, "2 chats have a workflow or a ticket in progress") {
			t.Errorf("the import says %s", said)
		}
		w.run("import", "--from", dir) // once more, which changes nothing
		w.running = w.start(w.dsn)
		w.register()
		w.openChat(1)
		w.openChat(2)
		w.settle()
		return w
	}
	const week = 7 * 24 * time.Hour
	t.Run("it lay for a week", func(t *testing.T) {
		w := served(week)
		w.wantRows(ended("import"), overdue)
		w.wantRows("", `select stream_id, due_at from eventstore.timers`)
		if said := append(w.texts(1, "bot"), w.texts(2, "bot")...); len(said) > 0 {
			t.Errorf("the customers are told %q", said)
		}
		w.clean()
		w.replaysAsItWas()
	})
	t.Run("it did not lie", func(t *testing.T) {
		w := served(0)
		w.wantRows("", overdue)
		w.wantRows("2, 0", `select count(*), count(*) filter (where quiet) from eventstore.timers`)
		w.clock.pass(week)
		w.settle()
		w.wantRows(ended("timer"), overdue)
		if said := w.texts(1, "bot"); len(said) != 1 {
			t.Errorf("the customer is told %q", said)
		}
		w.clean()
		w.replaysAsItWas()
	})
}

func tableNames() (names []string) {
	for _, p := range projections.All() {
		names = append(names, p.Name())
	}
	slices.Sort(names)
	return names
}

// background runs a subcommand as a process of its own.
func (w *world) background(args ...string) *program {
	w.t.Helper()
	p := w.program(args...)
	w.launch(p)
	return p
}

func (w *world) launch(p *program) {
	w.t.Helper()
	if err := p.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { p.Process.Kill() })
	go func() { p.ended <- p.Wait() }()
}

// crowded is a store with n events.
func crowded(t *testing.T, n int) *world {
	t.Helper()
	w := newTown(t, pgtest.Database(t))
	w.exec(`insert into eventstore.streams select 'chat-demo:' || s from generate_series(1, $1 / 10) s`, n)
	w.exec(`
		insert into eventstore.events (stream_id, version, event_id, name, event_version, payload, raw,
		correlation_id, actor, occurred_at)
		select 'chat-demo:' || s, v, id, 'update_kept', 1,
		jsonb_build_object('update_id', 10 * s + v, 'key', '1', 'kind', 'x'),
			jsonb_build_object('update_id', 10 * s + v), id, 'customer', clock_timestamp()
		from generate_series(1, $1 / 10) s, generate_series(1, 10) v, lateral (select gen_random_uuid() as id, s + v) r
		order by s / 50, v, s`, n)
	w.exec(`insert into eventstore.inbox (bot, update_id, stream_id, version)
		select 'demo', (payload ->> 'update_id')::bigint, stream_id, version from eventstore.events`)
	return w
}

// An export that is killed several times in the middle of a part keeps whole parts and continues behind
// them. In the end the archive is the same, byte by byte, as without interruptions.
func TestExport_Killed_Continues(t *testing.T) {
	t.Parallel()
	w := crowded(t, 20_000)
	at, killed := filepath.Join(t.TempDir(), "at-once"), filepath.Join(t.TempDir(), "killed")
	w.run("export", "--to", at, "--part-events", "700")
	for part := 3; part <= 12; part += 3 {
		p := w.background("export", "--to", killed, "--part-events", "700")
		w.eventually("the part is begun", func() string {
			_, err := os.Stat(filepath.Join(killed, fmt.Sprintf("part-%06d.ndjson.unfinished", part)))
			_, done := os.Stat(filepath.Join(killed, fmt.Sprintf("part-%06d.ndjson", part)))
			return unless(err == nil || done == nil, "%v", err)
		})
		_ = w.end(p, os.Kill) // it may have come to its end
	}
	// Until PostgreSQL has noticed the end of the process, the directory stays locked.
	w.eventually("the export ends", func() string {
		code, _, stderr := w.cli("export", "--to", killed, "--part-events", "700")
		return unless(code == 0, "%s", stderr)
	})
	a, err := os.ReadDir(at)
	if err != nil || len(a) != 30 {
		t.Fatalf("%d files: %v", len(a), err)
	}
	for _, file := range a {
		want, err := os.ReadFile(filepath.Join(at, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(killed, file.Name())); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs (%v)", file.Name(), err)
		}
	}
}

func TestImport_Killed_Continues(t *testing.T) {
	t.Parallel()
	const n = 4*transfer.BatchEvents + 10
	from := crowded(t, n)
	dir := filepath.Join(t.TempDir(), "archive")
	from.run("export", "--to", dir)
	w := newTown(t, pgtest.Database(t))
	for batches := 1; batches <= 2; batches++ {
		p := w.background("import", "--from", dir)
		w.eventually("a batch is stored", func() string {
			return unless(w.rows(`select count(*) >= $1 from eventstore.events`, batches*transfer.BatchEvents) == "true",
				"it is not")
		})
		_ = w.end(p, os.Kill)
	}
	var said string
	w.eventually("the import ends", func() string {
		code, stdout, stderr := w.cli("import", "--from", dir)
		said = stdout
		return unless(code == 0, "%s", stderr)
	})
	if strings.Contains(said, " 0 were stored already") {
		t.Errorf("it says %s", said)
	}
	wantSame(t, "store", from.rows(wholeLedger), w.rows(wholeLedger))
	w.wantRows(fmt.Sprint(n, ", ", n, ", 2"), `select min(events), max(events), count(*) from eventstore.checkpoints
		where (transaction_id, position) =
		(select transaction_id, position from eventstore.events order by transaction_id desc, position desc limit 1)`)
	if said := w.run("import", "--from", dir); said != fmt.Sprintf("nothing to import: all %d events are stored\n", n) {
		t.Errorf("once more, it says %s", said)
	}
}

func TestArchive_Grows_ImportContinues(t *testing.T) {
	t.Parallel()
	from := unfinished(t)
	dir := filepath.Join(t.TempDir(), "archive")
	from.run("export", "--to", dir)
	to := newTown(t, pgtest.Database(t))
	to.run("import", "--from", dir)
	const deadLetters = `select count(*) from eventstore.deliveries where state = 'dead' and finished_at is null`
	to.wantRows("5", deadLetters)
	// The open work is completed in the new store.
	from.running = from.start(from.dsn)
	from.register()
	for _, chat := range []int64{7, 8, 9} {
		from.openChat(chat)
	}
	from.settle()
	from.running.stop()
	from.run("export", "--to", dir)
	to.run("import", "--from", dir)
	wantSame(t, "store", from.rows(wholeLedger), to.rows(wholeLedger))
	to.wantRows("0", deadLetters)
}

// forged is an archive with changed events and a manifest that fits them.
func forged(t *testing.T, dir string, change func([]string) []string) string {
	t.Helper()
	to := t.TempDir()
	text, err := os.ReadFile(filepath.Join(dir, "part-000001.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	lines := change(strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n"))
	content := []byte(strings.Join(lines, ""))
	a, err := archive.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, digest := a.Manifest, sha256.Sum256(content)
	m.Parts[0].Bytes, m.Parts[0].SHA256 = int64(len(content)), hex.EncodeToString(digest[:])
	m.Parts[0].Events, m.Events = int64(len(lines)), int64(len(lines))
	manifest, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"part-000001.ndjson": content, "manifest.json": manifest} {
		if err := os.WriteFile(filepath.Join(to, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestImport_DamagedArchive_StoresNothing(t *testing.T) {
	t.Parallel()
	from := unfinished(t)
	dir := filepath.Join(t.TempDir(), "archive")
	from.run("export", "--to", dir)
	w := newTown(t, pgtest.Database(t))
	replace := func(line int, old, new string) func([]string) []string {
		return func(lines []string) []string {
			if !strings.Contains(lines[line-1], old) {
				t.Fatalf("no %s in %s", old, lines[line-1])
			}
			lines[line-1] = strings.Replace(lines[line-1], old, new, 1)
			return lines
		}
	}
	withoutLine3 := func(l []string) []string { return append(l[:2], l[3:]...) }
	for says, change := range map[string]func([]string) []string{
		"line 3: chat-demo:7 version 4: the stream ends at version 2, so that version 4 cannot follow": withoutLine3,
		"line 5: chat-demo:7 version 4: the stream ends at version 4, so that version 4 cannot follow": replace(
			5, `"version":5`, `"version":4`),
		"line 4: chat-demo:7 version 4: unknown event telepathy@": replace(4, `"reply_queued"`, `"telepathy"`),
		"line 4: chat-demo:7 version 4: unknown version of event reply_queued@9": replace(
			4, `"event_version":`, `"event_version":9`),
		"line 4: chat-demo:7 version 4: decode event reply_queued@": replace(4, `"text":"not sent"`, `"text":1`),
		"line 5: chat-demo:7 version 5: an earlier event has the same id": func(l []string) []string {
			const at = `"event_id":"`
			first, again := strings.Index(l[0], at)+len(at), strings.Index(l[4], at)+len(at)
			l[4] = l[4][:again] + l[0][first:first+36] + l[4][again+36:]
			return l
		},
		"line 7: chat-demo:8 version 1: ERROR: value rejected (SQLSTATE 22P05)": replace(
			7, `"raw":{`, `"raw":{"x":"\u0000",`),
		"line 3: chat-demo:7 version 2 at position": func(l []string) []string { l[1], l[2] = l[2], l[1]; return l },
	} {
		w.refuses(says, "import", "--from", forged(t, dir, change))
		w.wantRows("0, 0, 0, 0, 0",
			`select (select count(*) from eventstore.events), (select count(*) from eventstore.streams),
			(select count(*) from eventstore.inbox), (select count(*) from eventstore.deliveries),
			(select count(*) from eventstore.checkpoints)`)
	}
}

// refuses fails unless a subcommand on the world's database ends with an error that contains this text.
func (w *world) refuses(says string, args ...string) {
	w.t.Helper()
	code, stdout, stderr := w.cli(args...)
	if code != 1 || stdout != "" || !strings.Contains(stderr, says) {
		w.t.Errorf("%v: exit %d, %q\n says %s want %s", args, code, stdout, stderr, says)
	}
}

func TestArchive_OtherStore_IsRejected(t *testing.T) {
	t.Parallel()
	from, other := unfinished(t), unfinished(t)
	dir := filepath.Join(t.TempDir(), "archive")
	from.run("export", "--to", dir)
	other.refuses("is from another store", "export", "--to", dir)
	other.refuses("the store holds another event in its place", "import", "--from", dir)
	from.refuses("it is of format ndjson, not parquet", "export", "--to", dir, "--format", "parquet")
	from.refuses("another export into it is running", "export", "--to", from.heldArchive())

	to := newTown(t, pgtest.Database(t))
	to.running = to.start(to.dsn)
	to.eventually("somebody leads", func() string {
		code, _, stderr := to.cli("import", "--from", dir)
		return unless(code == 1 && strings.Contains(stderr, "another process leads outbox: stop `chatledger serve`"),
			"%s", stderr)
	})
	to.running.stop()
	to.wantRows("0", `select count(*) from eventstore.events`)
}

// heldArchive is a directory that an export holds.
func (w *world) heldArchive() string {
	w.t.Helper()
	dir := w.t.TempDir()
	store, err := eventstore.Open(w.t.Context(), w.dsn, "test", chat.NewCodec())
	if err != nil {
		w.t.Fatal(err)
	}
	release, err := eventstore.NewExporter(store).LockArchive(w.t.Context(), dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		release()
		store.Close()
	})
	return dir
}

// An event that another process stores between two batches would stand in the middle of the imported
// history.
func TestImport_OtherWriter_Stops(t *testing.T) {
	t.Parallel()
	from := crowded(t, 3*transfer.BatchEvents)
	lines := strings.SplitAfter(from.run("export", "--to", "-"), "\n")
	w := newTown(t, pgtest.Database(t))
	p := w.program("import", "--from", "-", "--format", "ndjson")
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var says strings.Builder
	p.Stderr = &says
	w.launch(p)
	// A batch is stored when the event behind it is known.
	if _, err := in.Write([]byte(strings.Join(lines[:transfer.BatchEvents+1], ""))); err != nil {
		t.Fatal(err)
	}
	w.eventually("a batch is stored", func() string {
		return unless(w.rows(`select count(*) from eventstore.events`) == fmt.Sprint(transfer.BatchEvents),
			"it is not")
	})
	w.exec(`insert into eventstore.events (stream_id, version, event_id, name, event_version, payload,
		correlation_id, actor, occurred_at)
		values ('chat-demo:0', 1, gen_random_uuid(), 'update_kept', 1, '{}', gen_random_uuid(), 'customer', now())`)
	if _, err := in.Write([]byte(strings.Join(lines[transfer.BatchEvents+1:], ""))); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := <-p.ended; err == nil || !strings.Contains(says.String(), "another process has stored event") {
		t.Errorf("it ends with %v and says %s", err, says.String())
	}
	w.wantRows(fmt.Sprint(transfer.BatchEvents+1), `select count(*) from eventstore.events`)
}

func TestStream_PipedToStore_IsEqual(t *testing.T) {
	t.Parallel()
	from := livedIn(t)
	for _, format := range []string{"ndjson", "cloudevents"} {
		whole := from.run("export", "--to", "-", "--format", format)
		lines := strings.SplitAfter(strings.TrimSuffix(whole, "\n"), "\n")
		half := len(lines) / 2
		at := from.rows(`select transaction_id || '/' || position from eventstore.events order by transaction_id, position
			limit 1 offset $1`, half-1)
		rest := from.run("export", "--to", "-", "--format", format, "--after", at)
		if rest != strings.Join(lines[half:], "")+"\n" {
			t.Errorf("%s: the second half is another", format)
		}
		to := newTown(t, pgtest.Database(t))
		for _, part := range []string{strings.Join(lines[:half], ""), whole} { // the second time it goes on
			p := to.program("import", "--from", "-", "--format", format)
			p.Stdin = strings.NewReader(part)
			to.launch(p)
			if err := <-p.ended; err != nil {
				t.Fatalf("%s: %v", format, err)
			}
		}
		wantSame(t, "store", from.rows(wholeLedger), to.rows(wholeLedger))
	}
	from.refuses("--after needs --to -", "export", "--to", t.TempDir(), "--after", "1/1")
	from.refuses("--after: position", "export", "--to", "-", "--after", "soon")
	from.refuses("parquet cannot be a stream", "export", "--to", "-", "--format", "parquet")
	from.refuses("unknown format", "import", "--from", "-")
}

// An export waits for transactions that were open when it began, and ends with the events of that moment.
func TestExport_NewEvents_EndsWhereItBegan(t *testing.T) {
	t.Parallel()
	w := crowded(t, 100)
	open, err := w.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Rollback(t.Context())
	if _, err := open.Exec(t.Context(), `select pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	w.exec(`insert into eventstore.events (stream_id, version, event_id, name, event_version, payload,
		correlation_id, actor, occurred_at)
		select 'chat-demo:0', v, gen_random_uuid(), 'update_kept', 1, '{}', gen_random_uuid(), 'customer', now()
		from generate_series(1, 5) v`)
	dir := filepath.Join(t.TempDir(), "archive")
	p := w.background("export", "--to", dir)
	w.eventually("the export has begun", func() string {
		_, err := os.Stat(filepath.Join(dir, "part-000001.ndjson.unfinished"))
		return unless(err == nil, "%v", err)
	})
	w.exec(`insert into eventstore.events (stream_id, version, event_id, name, event_version, payload,
		correlation_id, actor, occurred_at)
		select 'chat-demo:0', v, gen_random_uuid(), 'update_kept', 1, '{}', gen_random_uuid(), 'customer', now()
		from generate_series(6, 9) v`)
	if err := open.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-p.ended; err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{105, 109} {
		a, err := archive.Open(dir)
		if err != nil || a.Manifest.Events != want || !a.Manifest.Complete {
			t.Errorf("the archive holds %+v (%v), want %d events", a.Manifest, err, want)
		}
		w.run("export", "--to", dir)
	}
}

func TestTransfer_Interrupted_Fails(t *testing.T) {
	t.Parallel()
	w := crowded(t, 100)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := filepath.Join(t.TempDir(), "archive")
	w.run("export", "--to", dir)
	for _, args := range [][]string{{"export", "--to", dir}, {"export", "--to", "-"}, {"import", "--from", dir}} {
		code, _, stderr := command(ctx, append(args, "--database-url", w.dsn)...)
		if code != 1 || !strings.Contains(stderr, "interrupted before the end") {
			t.Errorf("%v: exit %d, %s", args, code, stderr)
		}
	}

	// The same holds while it waits for more.
	to := newTown(t, pgtest.Database(t))
	p := to.program("import", "--from", "-", "--format", "ndjson")
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	to.launch(p)
	to.eventually("it has come that far", func() string {
		return unless(to.rows(`select count(*) from pg_stat_activity where datname = current_database()
			and application_name = 'chatledger cli import'
			and state = 'idle' and query like '%insert into imported select event_id from page%'`) == "1", "it has not")
	})
	if err := to.end(p, os.Interrupt); err == nil {
		t.Error("an import that was interrupted ends as if it were done")
	}
}

func TestImport_Incomplete_NeedsFlag(t *testing.T) {
	t.Parallel()
	from := crowded(t, 100)
	dir := filepath.Join(t.TempDir(), "archive")
	from.run("export", "--to", dir)
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"),
		bytes.Replace(text, []byte(`"complete": true`), []byte(`"complete": false`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newTown(t, pgtest.Database(t))
	w.refuses("its export did not come to its end", "import", "--from", dir)
	w.run("import", "--from", dir, "--incomplete")
	wantSame(t, "store", from.rows(wholeLedger), w.rows(wholeLedger))
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/cmd/internal/config"
)

// Every kind of update is stored once, whole, and a repeat of it, under its own
// update id or another, adds nothing.
func TestUpdate_EveryKind_StoredOnceAndWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	paths, err := filepath.Glob("../../adapters/telegram/testdata/updates/*.json")
	if err != nil || len(paths) < 50 {
		t.Fatalf("%d fixtures: %v", len(paths), err)
	}
	const received = `select count(*) from eventstore.events where raw is not null`
	stored := 0
	for i, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var update struct {
			ID json.Number `json:"update_id"`
		}
		if err := json.Unmarshal(body, &update); err != nil {
			t.Fatal(err)
		}
		stored++
		once := fmt.Sprint(stored)

		w.mustPost(string(body))
		if got := w.rows(received); got != once {
			t.Fatalf("%s: %s updates are stored, want %s", name, got, once)
		}
		w.sameJSON(name, body, update.ID.String())

		w.mustPost(string(body))
		w.mustPost(strings.Replace(string(body), update.ID.String(), fmt.Sprint(1_000_000_000+i), 1))
		if !isMessage(t, body) { // equal content under another update id is another fact
			stored++
		}
		if got, want := w.rows(received), fmt.Sprint(stored); got != want {
			t.Fatalf("%s: after its repeats %s updates are stored, want %s", name, got, want)
		}
	}
	w.settle()
	w.wantRows("0", `select count(*) from eventstore.quarantine`)
	w.gapless()
	w.clean()
}

// isMessage reports whether an update holds a message or a pressed button. These have ids of their own, by
// which they are recognized under any update id.
func isMessage(t *testing.T, update []byte) bool {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(update, &fields); err != nil {
		t.Fatal(err)
	}
	for kind, body := range fields {
		button := kind == "callback_query" && strings.Contains(string(body), `"message"`) // not one of inline mode
		if strings.HasSuffix(kind, "message") || strings.HasSuffix(kind, "_post") || button {
			return true
		}
	}
	return false
}

// sameJSON fails unless the stored update equals the one that was sent, to the last digit.
func (w *world) sameJSON(name string, sent []byte, updateID string) {
	w.t.Helper()
	stored := []byte(w.rows(`select coalesce(convert_from(decode(e.raw->>'$base64', 'base64'), 'UTF8'), e.raw::text)
		from eventstore.events e join eventstore.inbox i using (stream_id, version)
		where i.bot = 'demo' and i.update_id = $1::text::bigint`, updateID))
	var want, got any
	for source, target := range map[*[]byte]*any{&sent: &want, &stored: &got} {
		decoder := json.NewDecoder(bytes.NewReader(*source))
		decoder.UseNumber() // a float64 would forgive lost digits
		if err := decoder.Decode(target); err != nil {
			w.t.Fatalf("%s: %v in %s", name, err, *source)
		}
	}
	if !reflect.DeepEqual(want, got) {
		w.t.Errorf("%s\n sent   %s\n stored %s", name, sent, stored)
	}
}

// gapless fails unless every stream's versions run from 1 without gaps.
func (w *world) gapless() {
	w.t.Helper()
	w.wantRows("", `select stream_id, min(version), max(version), count(*) from eventstore.events
		group by stream_id having min(version) <> 1 or max(version) <> count(*) or count(*) <> count(distinct version)`)
	w.wantRows("0", `select count(*) from eventstore.streams full join (select distinct stream_id
		from eventstore.events) e using (stream_id) where streams.stream_id is null or e.stream_id is null`)
}

// atOnce runs f for 0 to n-1 at the same time.
func atOnce(n int, f func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	all.Wait()
}

func TestMessages_HundredAtOnce_AnsweredInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.openChat(7)
	const n, first = 100, 5000
	atOnce(n, func(i int) {
		w.mustPost(messageUpdate(first+int64(i), 7, 10+int64(i), fmt.Sprintf("track order X-%d", 2000+i)))
	})
	w.wantRows(fmt.Sprint(n),
		`select count(*) from eventstore.events where stream_id = 'chat-demo:7' and name = 'message_received'`)
	w.settle()
	w.gapless()

	// The replies come in the order in which the messages stand.
	messages := strings.Split(w.rows(`select payload->>'text' from eventstore.events where stream_id = 'chat-demo:7'
		and name = 'message_received' order by version`), "; ")
	replies := w.texts(7, "bot")
	if len(messages) != n || len(replies) != n {
		t.Fatalf("%d messages, %d replies, want %d each", len(messages), len(replies), n)
	}
	for i, message := range messages {
		number := strings.TrimPrefix(message, "track order ")
		if !strings.Contains(replies[i], number+".") {
			t.Errorf("reply %d to %q is %q", i+1, message, replies[i])
		}
	}
	w.wantRows("done, 200, 1", `select state, count(*), max(attempts) from eventstore.deliveries group by state`)
	w.clean()
}

// openChat makes a chat known to the simulator, so that the bot may write there, by an update of a kind
// that the bot has not asked for. Without a webhook it stays with the simulator.
func (w *world) openChat(chat int64) {
	w.t.Helper()
	if id := w.Post(map[string]any{
		"telepathy": map[string]any{"chat": map[string]any{"id": chat, "type": "private"}},
	}); id != 0 && w.running != nil {
		w.t.Fatal("the bot has asked for telepathy")
	}
}

// The same holds when two processes receive it.
func TestUpdate_TwentyTimesAtOnce_OneEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.openChat(7)
	second := w.start(w.dsn)
	receivers := []string{w.url, second.url}
	body := messageUpdate(900, 7, 10, "hello")
	other := strings.Replace(body, `"update_id":900`, `"update_id":901`, 1)
	same := func(i int) {
		if status, _, err := post(receivers[i%2], []string{body, body, other, other}[i%4]); err != nil ||
			status != http.StatusOK {
			t.Errorf("answered %d (%v)", status, err)
		}
	}
	atOnce(20, func(i int) { same(i % 2) }) // all of one id
	w.settle()
	w.wantRows("message_received; understood; reply_queued; delivery_succeeded",
		`select name from eventstore.events order by version`)
	atOnce(20, same)
	w.settle()
	w.wantRows("1", `select count(*) from eventstore.events where name = 'message_received'`)
	if said := w.texts(7, "bot"); len(said) != 1 {
		t.Errorf("the bot says %q", said)
	}
}

// Updates in shuffled order within the window are stored in order; a later one is kept and marked, and
// does not rewind the conversation.
func TestReorderWindow_Straggler_RewindsNothing(t *testing.T) {
	t.Parallel()
	const window = 500 * time.Millisecond
	const first = 1000
	var w *world
	var straggler string
	for within := false; !within; { // a machine that is held up lets the window pass
		w = newWorld(t, func(b *config.Bot) { b.ReorderWindow = window })
		w.openChat(7)
		straggler = messageUpdate(first+3, 7, 13, "cancel") // sent before the others
		var all sync.WaitGroup
		for _, i := range rand.Perm(10) {
			if i == 3 {
				continue // it is the straggler
			}
			text := "hello"
			switch i {
			case 7:
				text = "change billing address"
			case 8:
				text = "12 Baker Street, London NW1 6XE"
			case 9:
				text = "where is my order 1001?"
			}
			all.Go(func() { w.mustPost(messageUpdate(first+int64(i), 7, 10+int64(i), text)) })
			time.Sleep(4 * time.Millisecond) // or the order would be that in which the machine gets to them
		}
		all.Wait()
		within = w.rows(`select max(occurred_at) - min(occurred_at) < $1 from eventstore.events
			where name = 'message_received'`, window/2) == "true"
	}
	const order = `select string_agg(substr(payload->>'update_id', 4), ' ' order by version),
		bool_or((payload->>'late')::boolean) from eventstore.events where name = 'message_received'`
	w.wantRows("0 1 2 4 5 6 7 8 9, null", order)
	w.settle()
	w.wantRows("bot, confirming_changes", `select handler, step from readmodel.conversations where chat_id = 7`)
	replies := len(w.texts(7, "bot"))

	w.mustPost(straggler)
	w.settle()
	w.wantRows("0 1 2 4 5 6 7 8 9 3, true", order)
	w.wantRows("1003", `select payload->>'update_id' from eventstore.events where (payload->>'late')::boolean`)
	w.wantRows("confirming_changes", `select step from readmodel.conversations where chat_id = 7`)
	if said := w.texts(7, "bot"); len(said) != replies+1 {
		t.Errorf("the straggler is answered with %q, want the step's question", said[replies:])
	}
	// The next one continues from the present state of the conversation.
	w.mustPost(messageUpdate(first+10, 7, 20, "yes"))
	w.settle()
	w.wantRows("completed", `select step from readmodel.conversations where chat_id = 7`)
	w.clean()
}

// Without a window, updates of a chat that wait for the same commit are still decided in the order of
// their ids; one chat never waits for another.
func TestReorderWindow_OneChatWaits_OthersContinue(t *testing.T) {
	t.Parallel()
	const window = 2 * time.Second
	w := newWorld(t, func(b *config.Bot) { b.ReorderWindow = window })
	done, begun := make(chan struct{}), time.Now()
	go func() {
		defer close(done)
		w.mustPost(messageUpdate(1, 7, 10, "hello"))
	}()
	w.mustPost(`{"update_id":2,"poll":{"id":"1"}}`) // belongs to no chat
	select {
	case <-done:
		t.Error("an update without a chat waited for the window of another")
	default:
	}
	<-done
	if took := time.Since(begun); took < window {
		t.Errorf("the window of %v lasted %v", window, took)
	}
}

func TestChatLimit_Exceeded_KeptUnanswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(b *config.Bot) { b.ChatLimit = &config.ChatLimit{Count: 10, Window: time.Minute} })
	for range 13 {
		w.Say(7, "hello")
	}
	w.Say(8, "hello")
	w.settle()
	w.wantRows("13, 3, true", `select count(*), count(*) filter (where (payload->>'over_limit')::boolean),
		min(version) filter (where (payload->>'over_limit')::boolean) >
			max(version) filter (where payload->>'over_limit' is null)
		from eventstore.events where name = 'message_received' and stream_id = 'chat-demo:7'`)
	if here, there := len(w.texts(7, "bot")), len(w.texts(8, "bot")); here != 11 || there != 1 {
		t.Errorf("%d replies in the chat over its limit, %d in the other", here, there)
	}
	w.wantRows("13, 11; 1, 1", `select messages, replies from readmodel.conversations order by chat_id`)
}

// A chat id of 52 bits works like any other.
func TestChatID_Largest_Stored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, chat := range []int64{1<<52 - 1, -(1<<52 - 1)} {
		w.Say(chat, "hello")
		w.settle()
		w.wantRows("1, 1", `select messages, replies from readmodel.conversations where chat_id = $1`, chat)
	}
}

// A body that is not an update is answered with 200, quarantined byte by byte, counted, and shown in the
// metrics; rejected requests are counted, too.
func TestUpdate_BadInput_KeptOrCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 2 {
		w.mustPost("no JSON \x00\xff")
	}
	w.mustPost(`{"message":{}}`)
	w.wantRows(`demo, no JSON \000\377, 2; demo, {"message":{}}, 1`,
		`select bot, encode(body, 'escape'), times from eventstore.quarantine order by id`)
	w.wantRows("0", `select count(*) from eventstore.events`)
	if status, _, err := get(w.url + "/webhook/demo"); err != nil || status != http.StatusMethodNotAllowed {
		t.Errorf("GET is answered %d (%v)", status, err)
	}
	answer, err := http.Post(w.url+"/webhook/demo", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	w.eventually("everything is counted", func() string {
		_, metrics, err := get(w.url + "/metrics")
		if err != nil {
			return err.Error()
		}
		var missing []string
		for _, line := range []string{
			`chatledger_webhook_seconds_count{bot="demo",status="200"} 3`,
			`chatledger_webhook_seconds_count{bot="demo",status="401"} 1`,
			`chatledger_webhook_seconds_count{bot="demo",status="405"} 1`,
			`chatledger_quarantined_total{bot="demo"} 3`,
		} {
			if !strings.Contains(metrics, line+"\n") {
				missing = append(missing, line)
			}
		}
		return strings.Join(missing, "; ")
	})
	if status, body, err := get(w.url + "/healthz"); err != nil || status != http.StatusOK || body != "alive" {
		t.Errorf("healthz: %d %q (%v)", status, body, err)
	}
}

// A message arrives through the webhook that setWebhook registered, and only with the secret given there.
func TestSimulator_ItsUpdates_Arrive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(7, "hello")
	w.settle()
	if got := w.Stats().Updates; got != (telegramsim.UpdateStats{Delivered: 1}) {
		t.Errorf("%+v", got)
	}
}

// A repeat is recognized under another update id however many messages came in between.
func TestUpdate_RepeatFromLongAgo_AddsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(b *config.Bot) { b.ChatLimit = &config.ChatLimit{Count: 1, Window: time.Hour} })
	const n = 80
	for i := range int64(n) {
		w.mustPost(messageUpdate(100+i, 7, 10+i, fmt.Sprint("message ", i)))
	}
	again := strings.Replace(w.rows(`select raw::text from eventstore.events
		where raw is not null order by version limit 1`), "100", "999", 1)
	w.mustPost(again)
	w.wantRows(fmt.Sprint(n), `select count(*) from eventstore.events where name = 'message_received'`)
}

// Valid JSON that JSONB cannot hold is kept to the last byte, and delays no other update.
func TestUpdate_StrangeJSON_KeptAsBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bodies := map[string]string{
		"a NUL in a text":    `{"update_id":%d,"message":{"message_id":1,"date":1,"chat":{"id":7},"text":"a\u0000b"}}`,
		"a NUL in a name":    `{"update_id":%d,"telepathy":{"\u0000":1}}`,
		"half an emoji":      `{"update_id":%d,"message":{"message_id":2,"date":1,"chat":{"id":7},"text":"\ud83d"}}`,
		"the other half":     `{"update_id":%d,"message":{"message_id":3,"date":1,"chat":{"id":7},"text":"\ude00\ud83d"}}`,
		"a very long number": `{"update_id":%d,"telepathy":{"strength":1e999999}}`,
		"a very deep array":  `{"update_id":%d,"telepathy":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
		"broken UTF-8": `{"update_id":%d,"message":{"message_id":4,"date":1,"chat":{"id":7},` +
			`"text":"` + "\xff\xfe" + `"}}`,
		"what we write": `{"update_id":%d,"$base64":"aGk="}`,
		"nearly 1 MiB":  `{"update_id":%d,"telepathy":{"text":"\u0000` + strings.Repeat("x", 1<<20-100) + `"}}`,
	}
	var id int64 = 100
	sent := map[int64]string{}
	for _, body := range bodies {
		id++
		sent[id] = fmt.Sprintf(body, id)
	}
	atOnce(len(sent), func(i int) { w.mustPost(sent[101+int64(i)]) })
	w.mustPost(messageUpdate(99, 7, 99, "hello")) // the chat goes on
	for id, body := range sent {
		got := w.rows(`select coalesce(decode(raw->>'$base64', 'base64'), convert_to(raw::text, 'UTF8')) = $2::bytea
			or (raw ->> 'update_id')::bigint = $1
			from eventstore.events join eventstore.inbox using (stream_id, version) where update_id = $1`, id, []byte(body))
		if got != "true" {
			t.Errorf("stored otherwise than sent (%q): %.100s", got, body)
		}
	}
	w.settle()
	w.gapless()
	w.clean()
}

// Read models are folded anew and compared while customers write.
func TestRebuild_MessagesArrive_Verified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var writing sync.WaitGroup
	defer writing.Wait()
	for chat := range int64(5) {
		w.openChat(10 + chat)
		writing.Go(func() {
			for i := range int64(60) {
				w.mustPost(messageUpdate(1000*chat+i, 10+chat, 10+i,
					[]string{"hello", "where is my order 1001?", "thank you"}[i%3]))
			}
		})
	}
	done := make(chan struct{})
	go func() { writing.Wait(); close(done) }()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		for _, projection := range []string{"conversations", "tickets"} {
			if code, stdout, stderr := w.cli("rebuild", projection); code != 0 {
				t.Fatalf("rebuild %s: %d %s%s", projection, code, stdout, stderr)
			}
		}
		w.clean()
	}
	w.settle()
	w.clean()
	w.wantRows("10, 60, 60; 11, 60, 60; 12, 60, 60; 13, 60, 60; 14, 60, 60",
		`select chat_id, messages, replies from readmodel.conversations order by chat_id`)
	for chat := range int64(5) {
		if n := len(w.texts(10+chat, "bot")); n != 60 {
			t.Errorf("chat %d has %d replies, want 60", 10+chat, n)
		}
	}
}

// While it stops, chatledger answers 200 only for updates that it has stored.
func TestStop_RequestsInFlight_Finished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var acknowledged, refused atomic.Int64
	var posting sync.WaitGroup
	stopped := make(chan struct{})
	for sender := range int64(10) {
		posting.Go(func() {
			for i := int64(0); ; i++ {
				status, _, err := post(w.url, messageUpdate(100_000*sender+i, 10+sender, 10+i, "hello"))
				switch {
				case err == nil && status == http.StatusOK:
					acknowledged.Add(1)
				case err == nil && status != http.StatusServiceUnavailable:
					t.Errorf("answered %d", status)
				default:
					refused.Add(1)
					select {
					case <-stopped:
						return
					default:
					}
				}
			}
		})
	}
	w.eventually("updates are stored", func() string {
		return unless(acknowledged.Load() > 100, "%d", acknowledged.Load())
	})
	w.stop()
	close(stopped)
	posting.Wait()
	w.wantRows("true", `select count(*) >= $1 from eventstore.events where name = 'message_received'`,
		acknowledged.Load())
	if refused.Load() == 0 {
		t.Error("nothing was refused: it was not stopped in the middle")
	}
}

// A process may end between handling a page of events and moving its checkpoint. Then the page is read
// again, and the groups that act on events must recognize what is done.
func TestFeed_ReadAgain_NoNewEffect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, text := range []string{"where is my order 1001?", "change billing address", "12 Baker Street, London NW1 6XE",
		"yes", "thank you"} {
		w.Say(7, text)
		w.settle()
	}
	said := w.texts(7, "bot")
	events := w.rows(`select count(*), max(version) from eventstore.events`)
	w.stop()
	if tag, err := w.db.Exec(t.Context(), `update eventstore.checkpoints set transaction_id = '0', position = 0
		where consumer_group in ('responder', 'outbox')`); err != nil || tag.RowsAffected() != 2 {
		t.Fatalf("%v %v", tag, err)
	}
	w.running = w.start(w.dsn)
	w.settle()
	w.wantRows(events, `select count(*), max(version) from eventstore.events`)
	if again := w.texts(7, "bot"); len(again) != len(said) {
		t.Errorf("the bot says again: %q", again[len(said):])
	}
}

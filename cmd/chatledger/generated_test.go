package main

import (
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/projections"
)

// moreGenerated in the environment is how many updates are generated; `make fuzz` sets it.
const moreGenerated = "CHATLEDGER_GENERATED"

// The general rule of parked streams, for any content. Thousands of generated values are posted, and
// stored as events; some events are made unreadable. Every group parks just the streams of these,
// names them, and handles all others. When the events can be read again, what was left out is handled
// in order.
func TestContent_AnyValue_OnlyItsStreamParked(t *testing.T) {
	t.Parallel()
	values, seed := 600, uint64(21) // updates, of some six values each
	if more, err := strconv.Atoi(os.Getenv(moreGenerated)); err == nil {
		values, seed = more, uint64(time.Now().UnixNano())
		t.Logf("%d updates of seed %d", values, seed)
	}
	g := &hostile{Rand: rand.New(rand.NewPCG(seed, 1))}
	w := newTown(t, pgtest.Database(t))
	w.running = w.start(w.dsn, func(c *server.Config) { c.Only = server.Receive })
	w.postGenerated(g, values)
	w.archived()
	w.appendGenerated(g, values/10)
	damaged := w.damage(g)

	w.running = w.start(w.dsn, func(c *server.Config) { c.Only, c.Log = server.Work, slog.New(slog.DiscardHandler) })
	caughtUp := func() string { return w.rows(behindGroups) }
	w.eventually("all groups get to the end", caughtUp)
	chats := chatsOf(values)
	for _, group := range server.ConsumerGroups() {
		// Nothing that can be posted parks a stream. Events that no customer can cause may, so that the
		// stream stands before the damaged event. The responder stops at the first event to which the bot
		// has something to say: it cannot decide for a stream that cannot be read.
		w.wantRows("", `
			select p.stream_id, p.version, p.reason from eventstore.parked p left join damaged d using (stream_id)
			where p.consumer_group = $1 and split_part(p.stream_id, ':', 2)::bigint between 1 and $2
			  and (d.version is null or p.version > d.version or p.version < d.version and $1 <> 'responder')`, group, chats)
		w.wantRows("", `
			select d.stream_id from damaged d
			where not exists (select from eventstore.parked p where p.consumer_group = $1 and p.stream_id = d.stream_id
			and p.version <= d.version)`, group)
		_, listed, _ := w.cli("parked", "list", "--group", group)
		for _, stream := range damaged {
			if !strings.Contains(listed, stream+" ") {
				t.Errorf("group %s: %s is not listed", group, stream)
			}
		}
	}
	w.othersClean()

	w.exec(`update eventstore.events e set name = d.name, event_version = d.event_version, payload = d.payload
		from damaged d where d.event_id = e.event_id`)
	w.request(commands.ParkedRetry)
	w.eventually("all requests are answered", func() string {
		return w.rows(`select consumer_group || ' ' || stream_id from eventstore.parked where request <> '' limit 3`)
	})
	w.wantRows("", `
		select consumer_group, stream_id, version, reason from eventstore.parked
		where consumer_group = 'responder' or split_part(stream_id, ':', 2)::bigint between 1 and $1 order by 1, 2
		limit 3`, chats)
	w.eventually("what can never be sent is skipped", func() string {
		w.request(commands.ParkedSkip)
		return w.rows(`select stream_id || ': ' || reason from eventstore.parked where consumer_group = 'outbox' limit 3`)
	})
	w.eventually("all groups get to the end again", caughtUp)
	w.othersClean()
	w.gapless()
	// Turns were taken in the order of the messages that they answer.
	w.wantRows("0", `
		select count(*) from (
			select cause.version < lag(cause.version) over (partition by e.stream_id order by e.version) as back
			from eventstore.events e join eventstore.events cause on cause.event_id = e.causation_id
			and cause.stream_id = e.stream_id
			where e.actor = 'bot' and cause.name in ('message_received', 'button_pressed')) turns where back`)
	// Every customer who wrote in private got an answer.
	w.wantRows("", `
		select m.stream_id, m.version, m.payload from eventstore.events m
		where m.name = 'message_received' and m.payload->'chat_type' = '"private"' and m.actor = 'customer'
		  and not exists (select from eventstore.events a where a.stream_id = m.stream_id
			and a.version > m.version and a.actor = 'bot')
		limit 3`)
}

// othersClean fails unless verify finds every row of the streams that are not parked as the events lead to.
func (w *world) othersClean() {
	w.t.Helper()
	for _, p := range projections.All() {
		code, stdout, stderr := w.cli("verify", p.Name())
		if !strings.Contains(stdout, p.Name()+": clean, ") && !strings.Contains(stderr, "the rows of the others are clean") {
			w.t.Errorf("verify %s: %d %s%s", p.Name(), code, stdout, stderr)
		}
	}
}

// request asks for something with all parked streams for which nothing is asked yet.
func (w *world) request(what commands.ParkedRequest) {
	w.t.Helper()
	store, err := eventstore.Open(w.t.Context(), w.dsn, "operator", chat.NewCodec())
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	parked, err := store.Parked(w.t.Context(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range parked {
		if p.Request != commands.ParkedWaits || what == commands.ParkedSkip && p.Group != server.Outbox {
			continue
		}
		if _, err := store.RequestParked(w.t.Context(), p.Group, p.Stream, what); err != nil {
			w.t.Fatal(err)
		}
	}
}

// firstAppended is the first chat with events that were not posted.
const firstAppended = 1_000_000

// behindGroups are the groups that have not read up to the last event.
const behindGroups = `
	select string_agg(g, ' ')
	from unnest(array['conversations', 'tickets', 'messages', 'chat_days', 'responder', 'outbox']) g
	where not exists (
		select from eventstore.checkpoints c where c.consumer_group = g and (c.transaction_id, c.position) >=
			(select transaction_id, position from eventstore.events order by transaction_id desc, position desc limit 1))
	having count(*) > 0`

// chatsOf is in how many chats so many updates are posted.
func chatsOf(values int) int { return values / 5 }

// postGenerated posts generated updates. Each is acknowledged and kept.
func (w *world) postGenerated(g *hostile, values int) {
	w.t.Helper()
	const senders = 8
	bySender := make([][]string, senders)
	for i := range values {
		bySender[i%senders] = append(bySender[i%senders], g.update(1+int64(i%chatsOf(values))))
	}
	var all sync.WaitGroup
	for _, bodies := range bySender {
		all.Go(func() {
			for _, body := range bodies {
				if status, _, err := post(w.url, body); err != nil || status != http.StatusOK {
					w.t.Errorf("answered %d (%v) to %.300q", status, err, body)
				}
			}
		})
	}
	all.Wait()
	w.wantRows(fmt.Sprint(values), `
		select (select count(*) from eventstore.inbox) + (select coalesce(sum(times), 0) from eventstore.quarantine)`)
}

// appendGenerated stores generated events of every type, as another program might have.
func (w *world) appendGenerated(g *hostile, streams int) {
	w.t.Helper()
	codec := chat.NewCodec()
	store, err := eventstore.Open(w.t.Context(), w.dsn, "another program", codec)
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	var types []reflect.Type
	for _, name := range slices.Sorted(maps.Keys(codec.Names())) {
		if event, err := codec.Decode(name, codec.Names()[name], []byte("{}")); err == nil {
			types = append(types, reflect.TypeOf(event))
		}
	}
	for i := range streams {
		a := commands.Append{Stream: domain.ChatStream("demo", int64(firstAppended+i))}
		for range 10 {
			g.big = false
			event := reflect.New(types[g.IntN(len(types))]).Elem()
			g.fill(event, 0)
			id := uuid.Must(uuid.NewV7())
			a.Events = append(a.Events, commands.NewEvent{
				ID: id, Event: event.Interface(), Correlation: id, Actor: domain.Actor(g.characters()), OccurredAt: w.clock.now(),
			})
		}
		if errs, err := store.Append(w.t.Context(), []commands.Append{a}); err != nil || errs[0] != nil {
			w.t.Fatalf("append %d events: %v %v", len(a.Events), err, errs)
		}
	}
}

// archived exports the ledger and imports it into another database, where it is the same.
func (w *world) archived() {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "archive")
	w.run("export", "--to", dir, "--format", "parquet")
	other := newTown(w.t, pgtest.Database(w.t))
	other.run("import", "--from", dir)
	const ledger = `
		select count(*), md5(string_agg(
			md5(concat(stream_id, '/', version, name, payload, raw, actor, occurred_at)), '' order by stream_id, version))
		from eventstore.events`
	other.wantRows(w.rows(ledger), ledger)
}

// damage makes an event unreadable in one of ten streams, and returns them.
func (w *world) damage(g *hostile) (damaged []string) {
	w.t.Helper()
	w.exec(`create table damaged as
		select * from (
			select distinct on (stream_id) event_id, stream_id, version, name, event_version, payload
			from eventstore.events where hashtext(stream_id) % 10 = 0
			order by stream_id, hashtext(stream_id || '@' || version)) one`)
	w.exec(`
		update eventstore.events e set
			name = case d.version % 3 when 0 then 'from_tomorrow' else d.name end,
			event_version = case d.version % 3 when 1 then 99 else d.event_version end,
			payload = case d.version % 3 when 2 then '"no object"' else d.payload end
		from damaged d where d.event_id = e.event_id`)
	damaged = strings.Split(w.rows(`select stream_id from damaged order by stream_id`), "; ")
	if len(damaged) < 5 {
		w.t.Fatalf("only %d streams are damaged", len(damaged))
	}
	return damaged
}

// hostile generates content.
type hostile struct {
	*rand.Rand
	n   int64
	big bool // there is a text of 440 KB in what is being generated
}

func (g *hostile) one(of ...string) string { return of[g.IntN(len(of))] }

// characters are some that a database, an index or a terminal may not like.
func (g *hostile) characters() string {
	switch g.IntN(12) {
	case 0:
		return "a\x00b"
	case 1:
		return "\xff\xfe\xed\xa0\x80"
	case 2:
		return strings.Repeat("k", 3000+g.IntN(6000))
	case 3:
		return `{"$base64":"aGk="}`
	case 4:
		return "\u202e👩‍👩‍👧\u0301\ufeff\U0010ffff"
	case 5:
		return "'; drop table events; -- $1 %s \\"
	case 6:
		return ""
	case 7:
		return strings.Repeat("\x00", 300)
	case 8:
		if !g.big && g.IntN(40) == 0 {
			g.big = true // which an update may have twice, in a message and in that which it answers
			return strings.Repeat("🚚", 110_000)
		}
		return strings.Repeat("word ", 1000)
	default:
		return g.one("Where is my order 1001?", "hello", "I want to talk to a person", "yes", "/start",
			"I want to change my billing address")
	}
}

// text is a JSON string, in the spellings that a JSON encoder does not write.
func (g *hostile) text() string {
	switch g.IntN(8) {
	case 0:
		return `"\ud800"`
	case 1:
		return `"\udc00 \ud83d\u0000"`
	case 2:
		return `"` + "\xff\xc3\x28" + `"`
	case 3:
		return `"\u0024base64"`
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range g.characters() {
		switch {
		case r < ' ', r == '"', r == '\\':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// number is a JSON number, or what stands where one should.
func (g *hostile) number() string {
	return g.one("0", "-1", "9223372036854775807", "-9223372036854775808", "18446744073709551615", "1e400", "1.5", "-0",
		`"7"`, "null", "[]", strconv.Itoa(g.IntN(1000)))
}

func (g *hostile) date(now time.Time) string {
	if g.IntN(2) == 0 {
		return strconv.FormatInt(now.Unix(), 10)
	}
	return g.one("253402300800", "-62135596801", "9223372036854775807", "1", "1.5e9", g.number())
}

func (g *hostile) deep() string {
	n := g.IntN(1 + g.IntN(9000))
	return strings.Repeat(`{"a":[`, n/2) + g.text() + strings.Repeat(`]}`, n/2)
}

// update is an update with an id of its own, in a chat that is known.
func (g *hostile) update(chat int64) string {
	g.n++
	g.big = false
	now, id := time.Now(), 7_000_000+g.n
	from := fmt.Sprintf(`{"id":%d,"is_bot":false,"first_name":%s,"last_name":%s,"username":%s,"language_code":%s}`,
		chat, g.text(), g.text(), g.text(), g.text())
	in := fmt.Sprintf(`{"id":%d,"type":"private","first_name":%s,"title":%s}`, chat, g.text(), g.text())
	message := func(more string) string {
		return fmt.Sprintf(`{"message_id":%d,"date":%s,"chat":%s,"from":%s%s}`, 100+g.n, g.date(now), in, from, more)
	}
	switch g.IntN(12) {
	case 0:
		return fmt.Sprintf(
			`{"update_id":%d,"callback_query":{"id":"%d%s,"from":%s,"chat_instance":%s,"message":%s,"data":%s}}`,
			id, g.n, g.text()[1:], from, g.text(), message(""), g.text())
	case 1:
		return fmt.Sprintf(`{"update_id":%d,"edited_message":%s}`, id,
			message(fmt.Sprintf(`,"edit_date":%s,"text":%s`, g.date(now), g.text())))
	case 2:
		return fmt.Sprintf(`{"update_id":%d,"my_chat_member":{"chat":%s,"from":%s,"date":%s,`+
			`"old_chat_member":{"status":"member"},"new_chat_member":{"status":%s,"until_date":%s}}}`,
			id, in, from, g.date(now), g.text(), g.number())
	case 3:
		return fmt.Sprintf(`{"update_id":%d,"telepathy_%d":%s}`, id, g.n, g.deep())
	case 4:
		return fmt.Sprintf(`{"update_id":%d,"message_reaction":{"chat":%s,"message_id":%d,"user":%s,"date":%s,`+
			`"old_reaction":[],"new_reaction":%s}}`,
			id, in, g.n, from, g.date(now), g.deep())
	case 5:
		return fmt.Sprintf(`{"update_id":%d,"message":%s}`, id,
			message(fmt.Sprintf(`,"caption":%s,"document":{"file_id":%s,"file_unique_id":%s,"file_name":%s,"file_size":%s}`,
				g.text(), g.text(), g.text(), g.text(), g.number())))
	case 6:
		return fmt.Sprintf(`{"update_id":%d,"message":%s}`, id,
			message(fmt.Sprintf(`,"text":%s,"entities":[{"type":%s,"offset":%s,"length":%s,"url":%s}],"reply_to_message":%s`,
				g.text(), g.text(), g.number(), g.number(), g.text(), message(`,"text":`+g.text()))))
	default:
		return fmt.Sprintf(`{"update_id":%d,"message":%s}`, id, message(`,"text":`+g.text()))
	}
}

// fill sets all fields of an event.
func (g *hostile) fill(v reflect.Value, depth int) {
	switch v.Interface().(type) {
	case time.Time:
		years := []int{0, 1, 1969, 2026, 2026, 9999}
		v.Set(reflect.ValueOf(time.Date(years[g.IntN(len(years))], 2, 3, 4, 5, 6, 7, time.UTC)))
		return
	case uuid.UUID:
		v.Set(reflect.ValueOf(uuid.Must(uuid.NewV7())))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(strings.ToValidUTF8(g.characters(), "\uFFFD"))
	case reflect.Int, reflect.Int64, reflect.Int32:
		of := []int64{0, 1, -1, 5, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64}
		n := of[g.IntN(len(of))]
		if v.OverflowInt(n) {
			n = 7
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint64, reflect.Uint8:
		v.SetUint(uint64(g.IntN(200)))
	case reflect.Float64:
		v.SetFloat(g.Float64() * 1e300)
	case reflect.Bool:
		v.SetBool(g.IntN(2) == 0)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				g.fill(v.Field(i), depth+1)
			}
		}
	case reflect.Slice:
		if depth < 5 {
			v.Set(reflect.MakeSlice(v.Type(), g.IntN(3), 3))
			for i := range v.Len() {
				g.fill(v.Index(i), depth+1)
			}
		}
	case reflect.Map:
		if depth < 5 {
			v.Set(reflect.MakeMap(v.Type()))
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			g.fill(key, depth+1)
			g.fill(value, depth+1)
			v.SetMapIndex(key, value)
		}
	case reflect.Pointer:
		if depth < 5 && g.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			g.fill(v.Elem(), depth+1)
		}
	}
}

package main

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// sentDate matches the dates of the case files, which are all of one day.
var sentDate = regexp.MustCompile(`\b1796\d{6}\b`)

// nowadays moves the dates of one case to the present and keeps the intervals between them.
func nowadays(bodies []string) []string {
	var last int64
	for _, body := range bodies {
		for _, date := range sentDate.FindAllString(body, -1) {
			at, _ := strconv.ParseInt(date, 10, 64)
			last = max(last, at)
		}
	}
	moved := make([]string, len(bodies))
	for i, body := range bodies {
		moved[i] = sentDate.ReplaceAllStringFunc(body, func(date string) string {
			at, _ := strconv.ParseInt(date, 10, 64)
			return strconv.FormatInt(time.Now().Unix()+at-last, 10)
		})
	}
	return moved
}

// Updates that went wrong in bots, desks and event stores, posted whole and in order: each is
// acknowledged and kept, and parks nothing. What should come of a case is asked of the ledger.
func TestCases_PostedWhole_KeptAndAnswered(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/cases/*.json")
	if err != nil || len(files) < 37 {
		t.Fatal(len(files), err)
	}
	w := newTown(t, pgtest.Database(t))
	w.running = w.start(w.dsn, func(c *server.Config) { c.Log = slog.New(slog.DiscardHandler) })
	cases := map[string][]string{} // by number
	for _, file := range files {   // in the order of their names
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		number := filepath.Base(file)[:2]
		cases[number] = append(cases[number], string(body))
	}
	for _, number := range slices.Sorted(maps.Keys(cases)) {
		for _, body := range nowadays(cases[number]) {
			w.mustPost(body)
			w.eventually("all groups get to the end", func() string { return w.rows(behindGroups) })
		}
	}
	w.settle()
	const answers = `select payload->>'text' from eventstore.events
		where stream_id = $1 and name = 'reply_queued' order by version`
	for _, c := range []struct {
		name, chat string
		want       []string // parts of the bot's answers, in order
	}{
		{"11a a date in year 10000", "6001", []string{"1001"}},
		{"15 ids begin lower", "6301", []string{"address", "7 Elm Road", "7 Elm Road", "colleague"}},
		{"16 one id, two updates", "6302", []string{"1001"}},
		{"17 an edit before its message", "6304", []string{"address", "9 Elm Road"}},
		{"31 a reaction before its message", "7101", []string{"address", "7 Elm Road"}},
	} {
		said := w.rows(answers, "chat-demo:"+c.chat)
		for _, part := range c.want {
			at := strings.Index(said, part)
			if at < 0 {
				t.Errorf("%s: the bot does not say %s: %s", c.name, part, w.rows(answers, "chat-demo:"+c.chat))
				break
			}
			said = said[at+len(part):]
		}
	}
	// 12p, 13: the answers to these buttons cannot be sent, and everything else is.
	w.wantRows("", `
		select stream_id, kind, state, reason from eventstore.deliveries
		where state not in ('done', 'refused') or state = 'refused' and kind = 'telegram.sendMessage'
		and reason not like '%chat not found%'`)
	// 16b is kept, and found again.
	w.wantRows("demo, 1", `select bot, times from eventstore.quarantine
		where convert_from(body, 'UTF8') like '%order 1002%'`)
	w.wantRows("1", `select count(*) from eventstore.quarantine`)
	w.wantRows("", `select consumer_group, stream_id, reason from eventstore.parked`)
	w.gapless()
	w.clean()
}

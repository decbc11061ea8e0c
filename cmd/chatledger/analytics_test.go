package main

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
)

// question is a heading of docs/analytics.md with the SQL below it.
type question struct{ title, sql string }

func questions(t *testing.T) (list []question) {
	t.Helper()
	text, err := os.ReadFile("../../docs/analytics.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n## ([^\n]+)\n(.*?)```sql\n(.*?);\n```")
	for _, m := range block.FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(m[2], "\n## ") {
			t.Fatalf("%q has no SQL below it", m[1])
		}
		list = append(list, question{m[1], m[3]})
	}
	return list
}

// An analyst runs each query of the guide on the conversations of a busy day and gets the right answer.
func TestAnalyticsGuide_Queries_AnswerQuestions(t *testing.T) {
	t.Parallel()
	r := newRanks(t, "asks")
	w := newTown(t, r.admin)
	w.dsn = r.app
	w.running = w.start(r.app)
	w.register()
	w.busyDay()
	w.must("rebuild", "messages", "chat_days") // what takes a table's place is read as well
	analyst := pgtest.Connect(t, r.analyst)
	answers := map[string]string{
		"How did each day go?": `select sum(began), sum(hand_overs), sum(late_responses), sum(opt_outs),
			bool_or(hand_over_reasons ? 'not_understood') from (%s) q
			=> (8,4,3,1,t)`,
		"What share was answered without a person, by intent and week?": `
			select intent, sum(messages), avg(without_person)::numeric(3, 2) from (%s) q
			where intent in ('order_status', 'person') group by 1 order by 1
			=> (order_status,2,1.00)(person,1,0.00)`,
		"Why were people needed?": `select reason, times, for_example from (%s) q
			=> (asked,1,"I want to talk to a person")(not_understood,1,"zzzzz qqq")`,
		"Who is in the middle of something now?": `select stream_id, handler from (%s) q order by 1
			=> (chat-demo:2,person)(chat-demo:3,person)(chat-demo:4,person)`,
		"Which messages did nobody answer?": `select stream_id, text, handed_over from (%s) q
			=> (chat-demo:3,"zzzzz qqq",not_understood)(chat-demo:4,"Is anybody there?",)`,
		"Which messages should become examples of an intent?": `select text, language, intent, times from (%s) q
			=> ("purple monkeys eat fog",en,unknown,1)("zzzzz qqq",en,unknown,1)`,
		"Which cases are overdue, by priority?": `select priority, overdue, nobodys, first from (%s) q
			=> (urgent,1,1,demo:4#1)(high,1,1,demo:2#1)(normal,1,1,demo:3#1)`,
		"Which cases were not closed after all?": `select reason, cases, reopened, share from (%s) q
			=> (asked,1,1,1.00)`,
		"After what do customers block the bot?": `select stream_id, written_by, after, person_was_fetched from (%s) q
			=> (chat-demo:6,rule,"You're welcome!",f)`,
		"At which step do they give up?": `select workflow, step, given_up from (%s) q
			=> (billing_address_change,confirming_changes,1)`,
		"How far do customers come in each workflow?": `select workflow, step, chats, times, at_once from (%s) q
			where workflow like '%%address%%'
			=> (billing_address_change,collecting_address,2,2,2)(billing_address_change,cancelled,1,1,0)` +
			`(billing_address_change,confirming_changes,1,1,0)`,
		"What do customers correct?": `select stream_id, before, after from (%s) q
			=> (chat-demo:42,"Where is my order 1001?","Where is my order 1002?")`,
		"What could not be delivered?": `select delivery, written_by, messages, chats from (%s) q
			=> (refused,rule,1,1)`,
		"How much does each person do?": `select author, replies, chats from (%s) q
			=> (ann,3,2)`,
		"Who came back within a day of a closed case?": `select ticket_id, text from (%s) q
			=> (demo:8#1,"hello again")`,
		"How long do customers wait, by what they send and who answers?": `
			select kind, answered_by, messages, p50 <= p95 from (%s) q
			where answered_by = 'person'
			=> (text,person,2,t)`,
	}
	asked := questions(t)
	if len(asked) < 15 {
		t.Fatalf("the guide has %d questions", len(asked))
	}
	for _, q := range asked {
		want, expected := answers[q.title]
		delete(answers, q.title)
		wrapped, want, _ := strings.Cut(want, "=>")
		if !expected {
			wrapped, want = "select count(*) > 0 from (%s) q", "(t)"
		}
		if got := found(t, analyst, fmt.Sprintf(wrapped, q.sql)); got != strings.TrimSpace(want) {
			t.Errorf("%s\n got  %s\n want %s\n of\n%s", q.title, got, strings.TrimSpace(want),
				found(t, analyst, q.sql))
		}
	}
	for title := range answers {
		t.Errorf("the guide does not ask: %s", title)
	}
	w.clean()
}

// found returns the result of a query as text.
func found(t *testing.T, conn *pgx.Conn, query string) string {
	t.Helper()
	return pgtest.Ask[string](t, conn, `select coalesce(string_agg(r::text, ''), '') from (`+query+`) r`)
}

// busyDay lets eight customers write, each in a chat of their own.
func (w *world) busyDay() {
	w.t.Helper()
	say := func(chat int64, texts ...string) (last int64) {
		for _, text := range texts {
			w.Say(chat, text)
			w.settle()
		}
		messages := w.Messages(chat)
		for _, m := range messages {
			if m.From != "bot" {
				last = m.MessageID
			}
		}
		return last
	}
	ticket := func(verb string, chat int64, rest ...string) {
		w.must(append([]string{"ticket", verb, "--as", "ann", fmt.Sprintf("demo:%d", chat)}, rest...)...)
		w.settle()
	}
	// The first corrects a question that is answered.
	if err := w.Edit(42, say(42, "Where is my order 1001?"), "Where is my order 1002?"); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
	// The second asks for an operator, who answers twice, and whose ticket is reopened.
	say(2, "I want to talk to a person", "It is about my invoice")
	ticket("reply", 2, "What is it about?")
	ticket("reply", 2, "I see.")
	ticket("resolve", 2)
	ticket("reopen", 2)
	// The third is not understood twice, and no operator comes.
	say(3, "purple monkeys eat fog", "zzzzz qqq")
	// The fifth and the seventh begin to change an address; one stops, one cancels.
	say(5, "change billing address", "1 Old Road, Leeds LS1 1AA")
	say(7, "change billing address", "cancel")
	// The sixth is answered and blocks the bot; the bot learns this when it writes again.
	say(6, "thanks")
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Chat: 6, Status: http.StatusForbidden, Count: 1})
	say(6, "Where is my order 1003?")
	// The eighth comes back after a closed ticket.
	say(8, "hello")
	ticket("open", 8)
	ticket("reply", 8, "All is well.")
	ticket("resolve", 8)
	say(8, "hello again")
	// The fourth waits for an operator, as two others do, until the ticket is overdue.
	say(4, "hello")
	ticket("open", 4, "--priority=urgent")
	say(4, "Is anybody there?")
	w.clock.pass(14 * 24 * time.Hour)
	w.settle()
}

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/simulators/faults"
	llmsim "github.com/chatledger/chatledger/adapters/simulators/llm"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/domain/llm"
)

const modelKey = "model-key"

// newModel starts a model server, and returns the setting that makes a bot use it for everything but
// workflows.
func newModel(t *testing.T, wrap func(http.Handler) http.Handler) (*llmsim.Server, func(*config.Bot)) {
	t.Helper()
	server := llmsim.New(llmsim.Options{Key: modelKey})
	front := httptest.NewServer(wrap(server))
	t.Cleanup(front.Close)
	return server, func(b *config.Bot) {
		b.Model = &config.Model{URL: front.URL + "/v1", Key: modelKey, Name: "small-1", PriceIn: 0.5,
			PriceOut: 2, Use: "always"}
	}
}

// newWorldWithModel returns a world whose bot has a model and a CRM.
func newWorldWithModel(t *testing.T) (*world, *llmsim.Server, *fakeCRM) {
	t.Helper()
	crm, withCRM := newCRM(t)
	model, withModel := newModel(t, itself)
	return newWorld(t, withCRM, withModel), model, crm
}

// wants is an answer of the model that calls a tool.
func wants(tool, input string) llmsim.Answer {
	return llmsim.Answer{Calls: []llmsim.Call{{Tool: tool, Input: input}}}
}

// pressLast presses a button of the bot's last message.
func (w *world) pressLast(chat int64, label string) {
	w.t.Helper()
	messages := w.Messages(chat)
	last := messages[len(messages)-1]
	data := button(last, label)
	if data == "" {
		w.t.Fatalf("%q has no button %q", last.Text, label)
	}
	w.Press(chat, last.MessageID, data)
}

const bulb = "Do your lamps come with a bulb?"

func TestModel_CustomerConfirms_Changes(t *testing.T) {
	t.Parallel()
	w, model, crm := newWorldWithModel(t)
	w.Say(42, bulb)
	w.says(42, "every lamp comes with a bulb")
	model.Script(wants("order_status", `{"number": 1001}`))
	w.Say(42, "And the big ones, do they too?")
	w.says(42, "order 1001 is shipped")
	model.Script(wants("change_billing_address", fmt.Sprintf(`{"address": %q}`, elm)))
	w.Say(42, "Fine, I like bulbs")
	w.says(42, "Shall I do this?")
	if len(crm.kept(42)) != 0 {
		t.Fatal("the address is changed before anybody has confirmed it")
	}
	w.pressLast(42, "Yes")
	w.says(42, "Done.")
	w.settle()
	if kept := crm.kept(42); len(kept) != 1 || kept[0] != elm {
		t.Errorf("kept %q", kept)
	}
	w.wantRows("1", `select count(*) from eventstore.events where name = 'tool_returned' and payload->>'receipt' <> ''
		and payload->>'tool' = 'change_billing_address'`)
	w.wantRows("model, small-1", `select distinct payload->'author'->>'kind', payload->'author'->>'name'
		from eventstore.events where name = 'reply_queued' and payload->'author'->>'kind' <> 'bot'`)
	_, stdout, _ := w.cli("state", "chat-demo:42")
	for _, part := range []string{"model", "5 questions", "tokens", "order_status number = 1001", "change_billing_address",
		"confirmed", "every lamp comes"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("state says nothing of %q:\n%s", part, stdout)
		}
	}
	w.clean()
	w.replaysAsItWas()
}

func TestModel_NotConfirmed_ChangesNothing(t *testing.T) {
	t.Parallel()
	w, model, crm := newWorldWithModel(t)
	change := wants("change_billing_address", fmt.Sprintf(`{"address": %q}`, elm))
	model.Script(change)
	w.Say(42, bulb)
	w.says(42, "Shall I do this?")
	w.pressLast(42, "Cancel")
	w.says(42, "Nothing was changed")
	w.settle()
	old := w.Messages(42)[1]
	w.Press(42, old.MessageID, button(old, "Yes")) // of the same confirmation, which is over
	model.Script(change)
	w.Say(42, "And candles, do they have wicks?")
	w.says(42, "Shall I do this?")
	w.Press(42, old.MessageID, button(old, "Yes")) // of an older one
	w.settle()
	if kept := crm.kept(42); len(kept) != 0 {
		t.Errorf("kept %q", kept)
	}
	w.wantRows("2", `select count(*) from eventstore.events where name = 'button_answered'
		and payload->>'text' like '%earlier step%'`)
	w.clean()
	w.replaysAsItWas()
}

func TestModel_NoAnswer_OperatorTakesOver(t *testing.T) {
	t.Parallel()
	for reason, play := range map[string]func(*llmsim.Server){
		"llm_budget": func(m *llmsim.Server) {
			for range 10 {
				m.Script(wants("order_status", `{"number": "1001"}`))
			}
		},
		"llm_failed":       func(m *llmsim.Server) { m.AddFault(faults.Fault{Status: 400, Count: 1}) },
		"llm_failed ":      func(m *llmsim.Server) { m.AddFault(faults.Fault{Status: 429, RetryAfter: 3600, Count: 1}) },
		"llm_failed  ":     func(m *llmsim.Server) { m.AddFault(faults.Fault{Status: 503}) }, // until the breaker opens
		"llm_blocked:link": func(m *llmsim.Server) { m.Script(llmsim.Answer{Text: "Pay at https://evil.example"}) },
		"llm_asked":        func(m *llmsim.Server) { m.Script(wants("hand_over", `{"reason": "no idea"}`)) },
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			w, model, _ := newWorldWithModel(t)
			play(model)
			w.Say(42, bulb)
			w.eventually("a person is fetched", func() string {
				got := w.rows(`select payload->>'reason' from eventstore.events where name = 'ticket_opened'`)
				return unless(got == strings.TrimSpace(reason), "%s", got)
			})
			w.settle()
			if said := w.texts(42, "bot"); len(said) != 1 || !strings.Contains(said[0], "colleague") {
				t.Errorf("the customer is told %q", said)
			}
			w.clean()
			w.replaysAsItWas()
		})
	}
}

// A bot's daily budget is kept over a restart and shared by two processes. Customers beyond it get an
// operator.
func TestModel_DailyBudget_ThenOperator(t *testing.T) {
	t.Parallel()
	model, withModel := newModel(t, itself)
	w := newWorld(t, withModel, func(b *config.Bot) { b.Model.Daily.Calls = 3 })
	for chat := int64(1); chat <= 3; chat++ {
		w.Say(chat, bulb)
		w.says(chat, "every lamp comes with a bulb")
	}
	w.start(w.dsn) // another process, as after a restart
	for chat := int64(4); chat <= 6; chat++ {
		w.Say(chat, bulb)
		w.says(chat, "colleague")
	}
	w.settle()
	if asked := len(model.Requests()); asked != 3 {
		t.Errorf("the model was asked %d times, want 3", asked)
	}
	w.wantRows("llm_budget, 3", `select payload->>'reason', count(*) from eventstore.events
		where name = 'ticket_opened' group by 1`)
	w.eventually("the metric says so", func() string {
		_, metrics, err := get(w.url + "/metrics")
		const spent = "\nchatledger_model_budget_used_ratio{bot=\"demo\",of=\"calls\"} 1\n"
		return unless(strings.Contains(metrics, spent), "%v", err)
	})
	w.clean()
	w.replaysAsItWas()
}

func TestModel_FailsAtTimes_Answers(t *testing.T) {
	t.Parallel()
	w, model, _ := newWorldWithModel(t)
	for _, fault := range []faults.Fault{{Status: 500, Count: 1}, {Spoil: faults.Truncated, Count: 1},
		{Spoil: faults.Nonsense, Count: 1}, {Status: 429, RetryAfter: 1, Count: 1}} {
		model.AddFault(fault)
	}
	w.Say(42, bulb)
	w.says(42, "every lamp comes with a bulb")
	w.settle()
	w.wantRows("done, 5", `select state, attempts from eventstore.deliveries where kind = 'llm.ask'`)
	w.clean()
}

func TestModel_ProcessKilled_QuestionSurvives(t *testing.T) {
	t.Parallel()
	model, withModel := newModel(t, itself)
	w := newTown(t, pgtest.Database(t), withModel)
	line := fmt.Sprintf("model: {url: %q, key: %s, name: small-1, use: always}", w.bot.Model.URL, modelKey)
	folder := "knowledge: " + patient(t)
	model.AddFault(faults.Fault{DelayMS: 60_000, Count: 1})
	first := w.serve(line, folder)
	if err := dev.SetWebhook(t.Context(), w.api, w.bot, first.url+"/webhook/demo"); err != nil {
		t.Fatal(err)
	}
	w.Say(42, bulb)
	w.eventually("the model is asked", func() string { return unless(len(model.Requests()) == 1, "not yet") })
	_ = w.end(first, syscall.SIGKILL)
	w.serve(line, folder)
	w.eventually("the answer comes", func() string {
		said := w.texts(42, "bot")
		return unless(len(said) == 1 && strings.Contains(said[0], "bulb"), "%q", said)
	})
	if n := len(model.Requests()); n != 2 {
		t.Errorf("%d questions", n)
	}
}

// A model obeys every attacker, with attacks that were not foreseen: still nothing is changed and nothing
// is revealed.
func TestHostileRequests_AllKinds_ChangeNothing(t *testing.T) {
	t.Parallel()
	w, model, crm := newWorldWithModel(t)
	model.Obey()
	attempts, _ := llm.RedTeam()
	for i, text := range attempts {
		w.Say(int64(100+i), text)
		if i%4 == 0 { // and once past the signs
			w.Say(int64(1000+i), bulb)
		}
	}
	w.settle()
	for i := range attempts {
		for _, chat := range []int64{int64(100 + i), int64(1000 + i)} {
			for _, said := range w.texts(chat, "bot") {
				if strings.Contains(said, "nobody in the chat can change") || strings.Contains(said, "command") {
					t.Errorf("chat %d is told %q", chat, said)
				}
			}
			if kept := crm.kept(chat); len(kept) > 0 {
				t.Errorf("the address of %d is changed to %q", chat, kept)
			}
		}
	}
	if len(crm.puts()) > 0 {
		t.Error("something is changed")
	}
	w.wantRows("0",
		`select count(*) from eventstore.events where name = 'tool_requested' and payload->>'writes' = 'true'`)
	if w.rows(`select count(*) from eventstore.events where name = 'attack_refused'`) == "0" ||
		len(model.Requests()) == 0 {
		t.Error("nothing was refused, or nothing asked: this run proves nothing")
	}
	w.clean()
}

// Messages that the customer writes while the model works are answered together with the first.
func TestMessages_TwoAtOnce_OneAnswer(t *testing.T) {
	t.Parallel()
	told := make(chan struct{})
	model, withModel := newModel(t, func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { inner.ServeHTTP(late{rw, told}, r) })
	})
	_, withCRM := newCRM(t)
	w := newWorld(t, withCRM, withModel)
	answer := sync.OnceFunc(func() { close(told) })
	defer answer()
	model.Script(llmsim.Answer{Text: "This is no answer to all of it."})
	w.Say(42, bulb)
	w.eventually("the model is asked", func() string { return unless(len(model.Requests()) == 1, "not yet") })
	w.Say(42, "The red lamp, with the bulb, I mean")
	w.eventually("the second message is read, too", func() string {
		if n := w.Stats().Updates.Pending; n > 0 {
			return fmt.Sprintf("%d updates are on their way", n)
		}
		return w.rows(strings.Replace(unsettled, crmUnderWay, crmUnderWay+` and kind <> 'llm.ask'`, 1))
	})
	answer()
	w.says(42, "every lamp comes with a bulb")
	w.settle()
	if said := w.texts(42, "bot"); len(said) != 1 {
		t.Errorf("said %q", said)
	}
	requests := model.Requests()
	last, _ := json.Marshal(requests[len(requests)-1].Messages)
	if len(requests) != 2 || !strings.Contains(string(last), bulb) || !strings.Contains(string(last), "The red lamp") {
		t.Errorf("%d questions, the last %s", len(requests), last)
	}
	w.clean()
	w.replaysAsItWas()
}

// late is an answer that waits for the test.
type late struct {
	http.ResponseWriter
	when <-chan struct{}
}

func (l late) Write(p []byte) (int, error) {
	<-l.when
	return l.ResponseWriter.Write(p)
}

// patient is a copy of the shop whose model may take longer than a lease.
func patient(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS("../../adapters/knowledge/shop")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "bot.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	slow := strings.Replace(string(text), "within: 30s", "within: 10m", 1)
	if slow == string(text) {
		t.Fatal("the shop's model has another time")
	}
	if err := os.WriteFile(path, []byte(slow), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

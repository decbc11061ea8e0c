package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/crm"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// One customer waits at each step of each workflow, and more of them for a tool without an answer, when
// the process is killed. Under the next process every conversation continues to its end: each customer
// gets exactly the expected messages, once, and every change at the CRM was made once.
func TestKill_EveryWorkflowStep_Survives(t *testing.T) {
	t.Parallel()
	crm, withCRM := newCRM(t)
	w := newTown(t, pgtest.Database(t), withCRM)
	stops := everyStep(t)
	p := w.serve()
	w.running = &running{url: p.url}
	w.register()

	// A process remembers the answers of tools; another process has to ask again.
	w.walk(stops, func(s stop) []act { return s.before })
	w.settle()
	if err := w.end(p, syscall.SIGTERM); err != nil {
		t.Errorf("asked to stop, the program ends with %v", err)
	}
	p = w.serve()
	w.running = &running{url: p.url}
	w.register()
	crm.hold()
	w.walk(stops, func(s stop) []act { return s.calls })
	w.eventually("everybody stands where they were brought", func() string {
		var lost []string
		for i, v := range stops {
			if want, got := v.step, w.rows(`select workflow || '.' || step from readmodel.conversations where chat_id = $1`,
				customerOf(i)); got != want {
				lost = append(lost, fmt.Sprintf("%s, not %s", got, want))
			}
		}
		return strings.Join(lost, "; ") +
			w.rows(strings.Replace(unsettled, crmUnderWay, crmUnderWay+` and destination not in ('crm:demo', 'orders:demo')`, 1))
	})
	if held := w.rows(`select state, count(*) from eventstore.deliveries where destination in ('crm:demo', 'orders:demo')
		and state <> 'done' group by 1 order by 1`); held == "" {
		t.Error("no tool is in use: this run proves less than it says")
	} else {
		t.Logf("%d customers; of what tools are asked: %s", len(stops), held)
	}

	if err := w.end(p, syscall.SIGKILL); err == nil {
		t.Error("the program survived")
	}
	crm.release()
	if _, err := w.db.Exec(t.Context(), `update eventstore.deliveries set lease_until = now()
		where state = 'sending'`); err != nil {
		t.Fatal(err)
	}
	p = w.serve()
	w.running = &running{url: p.url}
	w.register()
	w.settle()
	w.walk(stops, func(s stop) []act { return s.after })
	w.settle()
	if err := w.end(p, syscall.SIGTERM); err != nil {
		t.Errorf("asked to stop, the program ends with %v", err)
	}

	changes := 0
	for i, v := range stops {
		changes += v.end.changes
		if got := w.texts(customerOf(i), "bot"); !slices.Equal(numbered(got), numbered(v.end.said)) {
			t.Errorf("killed at %s\n the bot says %q\n and should    %q", v.step, got, v.end.said)
		}
		w.wantRows(string(v.end.context.Run.Step),
			`select step from readmodel.conversations where chat_id = $1`, customerOf(i))
	}
	if n := len(crm.Updates()) + len(crm.Refunds()) + len(crm.Cases()); n != changes {
		t.Errorf("%d things were changed at the CRM, want %d", n, changes)
	}
	// Answers to button presses are left out: on a slow machine they come too late.
	w.wantRows("done", `select distinct state from eventstore.deliveries where kind <> $1`, domain.KindAnswerButton)
	w.wantRows("", `select stream_id, payload->>'to' from eventstore.events where name = 'understood'
		group by 1, 2 having count(*) > 1`)
	w.gapless()
	w.clean()
	w.replaysAsItWas()
}

// crmUnderWay is the part of unsettled about deliveries.
const crmUnderWay = `state in ('waiting', 'sending')`

func customerOf(visit int) int64 { return int64(1000 + visit) }

// numbered returns a text with every number of a CRM case replaced.
func numbered(said []string) (list []string) {
	for _, text := range said {
		list = append(list, caseNumber.ReplaceAllString(text, "$1-*"))
	}
	return list
}

var caseNumber = regexp.MustCompile(`\b([A-Z]+)-\d+\b`)

// act is an act of a customer: a message, or a pressed button.
type act struct{ text, button string }

func (w *world) act(customer int64, a act) {
	if a.button == "" {
		w.Say(customer, a.text)
		return
	}
	said := w.Messages(customer)
	w.Press(customer, said[len(said)-1].MessageID, a.button)
}

// visit is a customer's conversation with the shop, as the pure dialogue leads it.
type visit struct {
	context dialog.Context
	last    dialog.Turn
	acts    []act
	said    []string // by the bot
	changes int      // at the CRM
}

// stop is a step at which a customer waits, and the acts that would end the conversation.
type stop struct {
	step   string // workflow.step
	before []act
	calls  []act // what has a tool used there; none where nobody waits for one
	after  []act
	end    visit
}

func stopAt(here, end visit) stop {
	run, n := here.context.Run, len(here.acts)
	s := stop{step: run.Workflow + "." + string(run.Step), before: here.acts, after: end.acts[n:], end: end}
	if run.Calling != "" {
		s.before, s.calls = here.acts[:n-1], here.acts[n-1:]
	}
	return s
}

// walk lets all customers act at once, each with the next act when all earlier work is done.
func (w *world) walk(stops []stop, part func(stop) []act) {
	w.t.Helper()
	for n, more := 0, true; more; n++ {
		more = false
		for i, s := range stops {
			if acts := part(s); n < len(acts) {
				if !more && n > 0 {
					w.settle()
				}
				w.act(customerOf(i), acts[n])
				more = true
			}
		}
	}
}

// everyStep finds a way to each step of the shop at which a conversation waits, for the customer or for a
// tool, and on to an end. It fails when it does not reach a step.
func everyStep(t *testing.T) (stops []stop) {
	t.Helper()
	shop, err := config.ShopKnowledge()
	if err != nil {
		t.Fatal(err)
	}
	guide := newGuide(t)
	first := visit{context: dialog.Context{Knowledge: shop, Tools: crm.ToolsWith(false, true), Prefers: "en"}}
	begin := first.does(act{text: "hello"})
	for _, name := range slices.Sorted(maps.Keys(shop.Workflows)) {
		found := map[dialog.Step]bool{}
		for _, v := range guide.explore(begin.does(act{button: "i:" + string(intentOf(t, shop, name))})) {
			step := v.context.Run.Step
			if v.context.Run.Workflow != name || found[step] || step.Ended() {
				continue
			}
			for _, end := range guide.explore(v) {
				if end.context.Run.Step.Ended() {
					found[step] = true
					stops = append(stops, stopAt(v, end))
					break
				}
			}
		}
		for _, def := range shop.Workflows[name].Steps {
			if !found[def.Name] && def.Say == nil {
				t.Errorf("no way was found to %s of %s, or none from there to an end", def.Name, name)
			}
		}
	}
	return stops
}

func intentOf(t *testing.T, k *dialog.Knowledge, workflow string) dialog.Intent {
	t.Helper()
	for intent, topic := range k.Topics {
		if topic.Workflow == workflow {
			return intent
		}
	}
	t.Fatalf("nobody gets to %s", workflow)
	return ""
}

// guide looks for ways, with a shop of its own whose tools answer like the real one's.
type guide struct {
	t         *testing.T
	tools     crm.Tools
	customers int
}

func newGuide(t *testing.T) *guide {
	t.Helper()
	server, _ := newCRM(t)
	client, err := crm.NewClient(server.url, crmToken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &guide{t: t, tools: crm.Tools{Shops: map[string]crm.Shop{"demo": {CRM: client}}, Now: clock.Now}}
}

// maxWays limits how many ways are explored of one workflow.
const maxWays = 500

// explore tries everything that a customer may answer, and the tools; shortest ways first, this one before
// all.
func (g *guide) explore(from visit) []visit {
	found, seen := []visit{from}, map[string]bool{}
	for i := 0; i < len(found) && len(found) < maxWays; i++ {
		for _, next := range g.next(found[i]) {
			key := fmt.Sprint(next.context.Run.Workflow, next.context.Run.Step, next.context.Run.Data)
			if !seen[key] {
				seen[key] = true
				found = append(found, next)
			}
		}
	}
	return found
}

// next returns the ways that continue from here.
func (g *guide) next(v visit) (list []visit) {
	run := v.context.Run
	def := v.def()
	switch {
	case run.Step.Ended():
	case run.Calling != "":
		list = append(list, g.returns(v))
	case len(v.buttons()) > 0:
		for _, b := range v.buttons() {
			list = append(list, v.does(act{button: b.Data}))
		}
	case def != nil && def.Ask != nil:
		for _, text := range answersTo(def.Ask.Check) {
			list = append(list, v.does(act{text: text}))
		}
	}
	return list
}

func (v visit) def() *dialog.StepDef {
	run := v.context.Run
	steps := v.context.Knowledge.Workflows[run.Workflow].Steps
	if i := slices.IndexFunc(steps, func(s dialog.StepDef) bool { return s.Name == run.Step }); i >= 0 {
		return &steps[i]
	}
	return nil
}

// buttons returns those of the bot's last message, except the one that cancels.
func (v visit) buttons() (list []dialog.Button) {
	if n := len(v.last.Replies); n > 0 {
		for _, b := range v.last.Replies[n-1].Buttons {
			if !strings.HasSuffix(b.Data, ":cancel") {
				list = append(list, b)
			}
		}
	}
	return list
}

// answersTo returns answers to a question. The orders are those of the demo shop, one for each state of a
// payment.
func answersTo(check dialog.Check) []string {
	switch check {
	case dialog.CheckOrderNumber:
		return []string{"1001", "1002", "1003", "1004"}
	case dialog.CheckPostal:
		return []string{elm}
	default:
		return []string{"the blue lamp has a crack"}
	}
}

// visited is the time of each visit; a visit takes no time.
var visited = time.Date(2027, 2, 1, 10, 0, 0, 0, time.UTC)

func (v visit) does(a act) visit {
	v.acts = append(slices.Clip(v.acts), a)
	return v.follow(dialog.Take(v.context,
		dialog.Act{Text: a.text, Button: a.button, MessageID: int64(len(v.acts)), At: visited}))
}

// returns has the tool answer for which the customer waits, to a customer of its own.
func (g *guide) returns(v visit) visit {
	g.t.Helper()
	g.customers++
	body, err := json.Marshal(commands.UseTool{Tool: v.last.Call.Tool, For: chat.ForWorkflow, Input: v.last.Call.Input,
		Customer: fmt.Sprint("telegram:", g.customers)})
	if err != nil {
		g.t.Fatal(err)
	}
	d := commands.Claimed{Body: body}
	d.ID, d.Stream = uuid.New(), domain.ChatStream("demo", int64(g.customers))
	outcome := g.tools.Send(g.t.Context(), d)
	record, ok := outcome.Command.(chat.RecordTool)
	if !ok || record.Reason != "" {
		g.t.Fatalf("%s %v: %+v", v.last.Call.Tool, v.last.Call.Input, outcome)
	}
	if v.context.Run.Writing {
		v.changes++
	}
	v.context.Run.Calling, v.context.Run.Writing = "", false
	return v.follow(dialog.Returned(v.context, record.Output, false, dialog.Act{At: visited}))
}

func (v visit) follow(turn dialog.Turn) visit {
	v.last, v.context.Language = turn, turn.Language
	v.said = slices.Clip(v.said)
	for _, reply := range turn.Replies {
		v.said = append(v.said, reply.Text)
	}
	for _, move := range turn.Moves {
		v.context.Run = v.context.Run.Follow(move, visited)
	}
	if turn.Call.Tool != "" {
		v.context.Run.Calling, v.context.Run.Writing = turn.Call.Tool, dialog.Toolbox[turn.Call.Tool].Writes
	}
	return v
}

package knowledge

import (
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/chatledger/chatledger/domain/dialog"
)

// Limits of the time that a workflow waits for its customer.
const (
	minIdle = time.Minute
	maxIdle = 30 * 24 * time.Hour
)

// draft is a workflow while it is read, with the lines for the mistakes that show only at the
// end.
type draft struct {
	page
	*dialog.Workflow
	node   *yaml.Node
	lines  map[dialog.Step]*yaml.Node
	leads  []lead
	uses   []use
	fields map[string]bool // that some step collects
}

// lead is a transition from a step to another one, or to an end.
type lead struct {
	from, to  dialog.Step
	confirmed bool // by the customer's yes
	asking    bool // it must lead to a step that asks
	at        *yaml.Node
}

// use is a use of a variable or a field, which some step must collect.
type use struct {
	name string
	line int
}

// workflow reads a file of workflows/, whose name is the workflow's.
func (r *reading) workflow(p page, called string) {
	w := &dialog.Workflow{Name: called, Idle: dialog.DefaultIdle}
	d := &draft{
		page:     p,
		Workflow: w,
		lines:    map[dialog.Step]*yaml.Node{},
		fields:   map[string]bool{customer: true, title: true},
	}
	if !name.MatchString(called) || len(called) > maxName {
		r.mistake(p.file, 0, "a file is called like its workflow, with up to %d of a-z 0-9 _: rename it", maxName)
	}
	if d.node = p.root(); d.node == nil {
		return
	}
	if _, twice := r.k.Workflows[called]; twice {
		r.mistake(p.file, 0, "the workflow %s stands in another file already: keep one", called)
	}
	r.k.Workflows[called] = w
	p.object(d.node, "a workflow", fields{
		"title":  func(n *yaml.Node) { w.Title = p.text(n, "title", maxLabel, p.only()) },
		"brief":  func(n *yaml.Node) { w.Brief = p.flag(n, "brief") },
		"idle":   func(n *yaml.Node) { w.Idle = p.duration(n, "idle", minIdle, maxIdle) },
		"remind": func(n *yaml.Node) { w.Remind = p.duration(n, "remind", minIdle, maxIdle) },
		"steps":  func(n *yaml.Node) { p.list(n, "steps", maxSteps, d.step) },
	})
	switch {
	case w.Title == nil:
		p.wrong(d.node, "title is missing: the bot says it when it comes back to this, such as `your address change`")
	case w.Remind >= w.Idle:
		p.wrong(d.node, "remind is %v and idle %v: a reminder comes before the end", w.Remind, w.Idle)
	}
	if len(w.Steps) == 0 {
		p.wrong(d.node, "steps are missing")
		return
	}
	d.judge()
	r.last = append(r.last, func() {
		if !r.starts[called] {
			p.wrong(d.node, "no intent begins this workflow: write `workflow: %s` under one in intents/", called)
		}
	})
}

// kinds are the keys that decide the kind of a step.
var kinds = []string{"ask", "call", "confirm", "say"}

// step reads one step of the list.
func (d *draft) step(n *yaml.Node) {
	var s dialog.StepDef
	if called := under(n, "name"); called != nil {
		s.Name = dialog.Step(d.name(called, "a step"))
	}
	kind := slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool { return under(n, kind) == nil })
	switch other, twice := d.lines[s.Name]; {
	case s.Name == "":
		d.wrong(n, "name is missing: a step is written as `- name: asking_number`, and what it does below")
		return
	case s.Name == dialog.Initial || s.Name.Ended():
		d.wrong(n, "%s is how every workflow begins or ends: choose another name", s.Name)
	case twice:
		d.wrong(n, "the step %s is already defined in line %d: choose another name", s.Name, other.Line)
	}
	d.lines[s.Name] = n
	if len(kind) != 1 {
		d.wrong(n, "the step %s needs one of %s", s.Name, strings.Join(kinds, ", "))
		return
	}
	switch kind[0] {
	case "ask":
		s.Ask = d.ask(n, s.Name)
	case "call":
		s.Call = d.call(n, s.Name)
	case "confirm":
		s.Confirm = d.confirm(n, s.Name)
	case "say":
		s.Say = d.say(n, s.Name)
	}
	d.Steps = append(d.Steps, s)
}

func skip(*yaml.Node) {}

// ownFields are fields of the bot itself: no step may collect them.
var ownFields = []string{customer, title, dialog.FieldRefused}

func (d *draft) ask(n *yaml.Node, step dialog.Step) *dialog.Ask {
	a := &dialog.Ask{}
	d.object(n, "a step that asks", fields{
		"name": skip,
		"ask": func(n *yaml.Node) {
			if a.Field = d.name(n, "a field"); slices.Contains(ownFields, a.Field) {
				d.wrong(n, "%s is what the bot itself collects: choose another name", a.Field)
			}
			d.fields[a.Field] = true
		},
		"check": func(n *yaml.Node) {
			if a.Check = dialog.Check(n.Value); !slices.Contains(dialog.Checks, a.Check) {
				d.wrong(n, "there is no check %q; there are %s", n.Value, names(slices.Values(dialog.Checks)))
			}
		},
		"prompt":     func(n *yaml.Node) { a.Prompt = d.text(n, "prompt", maxText, d.known) },
		"again":      func(n *yaml.Node) { a.Again = d.text(n, "again", maxText, d.knownAgain) },
		"help":       func(n *yaml.Node) { a.Help = d.text(n, "help", maxText, d.known) },
		"only":       func(n *yaml.Node) { a.Only = d.flag(n, "only") },
		"from_start": func(n *yaml.Node) { a.FromStart = d.flag(n, "from_start") },
		"choices":    func(n *yaml.Node) { d.choices(n, step, a) },
		"hangs_on": func(n *yaml.Node) {
			a.HangsOn = d.names(n, "fields it hangs on")
			d.collected(n, a.HangsOn...)
		},
		"next": func(n *yaml.Node) { a.Next = d.next(n, step, "next", nil) },
	})
	led := !slices.ContainsFunc(a.Choices, func(c dialog.Choice) bool { return c.Next.Step == "" })
	switch {
	case a.Prompt == nil:
		d.wrong(n, "prompt is missing: what does the step %s ask?", step)
	case a.Only && len(a.Choices) == 0:
		d.wrong(n, "only takes nothing but choices: write some")
	case under(n, "next") == nil && !(a.Only && led):
		d.wrong(n, "the step %s has no next step: write next", step)
	}
	return a
}

// choices reads buttons, each with its own next step or with that of the step.
func (d *draft) choices(n *yaml.Node, step dialog.Step, a *dialog.Ask) {
	d.list(n, "choices", maxChoices, func(n *yaml.Node) {
		var c dialog.Choice
		ways := d.ways(&c.Next, nil)
		d.object(n, "a choice", with(ways, fields{
			"value": func(n *yaml.Node) { c.Value = d.value(n, a.Choices) },
			"label": func(n *yaml.Node) { c.Label = d.text(n, "label", maxLabel, d.known) },
			"words": func(n *yaml.Node) { c.Words = d.phrases(n, "words") },
		}))
		if c.Value == "" || c.Label == nil {
			d.wrong(n, "a choice needs a value and a label")
		}
		if hasAny(n, ways) {
			d.leadOn(n, step, "this choice", &c.Next)
		}
		a.Choices = append(a.Choices, c)
	})
}

// ownValues are the values of buttons that every step may have.
var ownValues = []string{"cancel", "back", "go_on", "switch", "stay"}

// value reads the value that a button sends back.
func (d *draft) value(n *yaml.Node, others []dialog.Choice) string {
	value, _ := d.scalar(n, "value")
	switch {
	case len(value) > maxValue || strings.Contains(value, ":"):
		d.wrong(n, "the value %q travels in a button: use up to %d bytes, without a colon", value, maxValue)
	case slices.Contains(ownValues, value):
		d.wrong(n, "the value %q is that of a button of the bot's own: choose another", value)
	case slices.ContainsFunc(others, func(c dialog.Choice) bool { return c.Value == value }):
		d.wrong(n, "the value %q stands in this step twice", value)
	}
	return value
}

func (d *draft) confirm(n *yaml.Node, step dialog.Step) *dialog.Confirm {
	c := &dialog.Confirm{}
	d.object(n, "a step that confirms", fields{
		"name":    skip,
		"confirm": func(n *yaml.Node) { c.Prompt = d.text(n, "confirm", maxText, d.known) },
		"yes":     func(n *yaml.Node) { c.Yes = d.text(n, "yes", maxLabel, d.known) },
		"change":  func(n *yaml.Node) { c.Change = d.text(n, "change", maxLabel, d.known) },
		"toast":   func(n *yaml.Node) { c.Toast = d.text(n, "toast", dialog.MaxToast, d.known) },
		"next": func(n *yaml.Node) {
			c.Next = d.next(n, step, "next", nil)
			d.leads[len(d.leads)-1].confirmed = true
		},
		"correct": func(n *yaml.Node) {
			c.Correct = d.next(n, step, "correct", nil)
			d.leads[len(d.leads)-1].asking = true
		},
	})
	if c.Next.Step == "" || c.Correct.Step == "" {
		d.wrong(n, "the step %s has no next step: write next for the yes, and correct for the no", step)
	}
	return c
}

func (d *draft) say(n *yaml.Node, step dialog.Step) *dialog.Goto {
	g := &dialog.Goto{}
	d.object(n, "a step that says something", fields{
		"name": skip,
		"say":  skip,
		"next": func(n *yaml.Node) { *g = d.next(n, step, "next", nil) },
	})
	g.Say = d.text(under(n, "say"), "say", maxText, d.known)
	if g.Step == "" {
		d.wrong(n, "the step %s has no next step: write next", step)
	}
	return g
}

// next reads the next step: a name, or a name with actions.
func (d *draft) next(n *yaml.Node, from dialog.Step, what string, result variables) (g dialog.Goto) {
	ways := d.ways(&g, result)
	if n.Kind == yaml.ScalarNode {
		ways["step"](n)
	} else {
		d.object(n, what, ways)
	}
	d.leadOn(n, from, what, &g)
	return g
}

// ways are the keys of a transition.
func (d *draft) ways(g *dialog.Goto, result variables) fields {
	seen := d.known
	if result != nil {
		seen = result
	}
	return fields{
		"step": func(n *yaml.Node) { g.Step = dialog.Step(d.name(n, "a step")) },
		"say":  func(n *yaml.Node) { g.Say = d.text(n, "say", maxText, seen) },
		"set": func(n *yaml.Node) {
			g.Set = map[string]string{}
			d.pairs(n, "set", func(key, value *yaml.Node) {
				d.fields[d.name(key, "a field")] = true
				g.Set[key.Value] = d.sentence(value, "a value", maxText, seen)
			})
		},
		"clear": func(n *yaml.Node) {
			g.Clear = d.names(n, "fields to clear")
			d.collected(n, g.Clear...)
		},
		"problem": func(n *yaml.Node) { g.Problem = d.text(n, "problem", maxText, seen) },
		"hand_over": func(n *yaml.Node) {
			g.HandOver = d.handOver(n)
		},
	}
}

func with(some, more fields) fields {
	both := maps.Clone(some)
	maps.Copy(both, more)
	return both
}

// leadOn notes a transition. A transition to an operator ends the workflow.
func (d *draft) leadOn(n *yaml.Node, from dialog.Step, what string, g *dialog.Goto) {
	handed := g.HandOver.Reason != ""
	switch {
	case g.Step == "" && handed:
		g.Step = dialog.HandedOver
	case g.Step == "":
		d.wrong(n, "%s has no next step: write a step, completed, or hand_over", what)
	case handed && g.Step != dialog.HandedOver:
		d.wrong(n, "%s leads both to %s and to a person: remove one", what, g.Step)
	case !handed && g.Step == dialog.HandedOver:
		d.wrong(n, "%s leads to a person: write hand_over with the reason", what)
	case g.Step == dialog.Initial || g.Step == dialog.Expired:
		d.wrong(n, "%s leads to %s, where only the bot itself goes: write another step", what, g.Step)
	}
	d.leads = append(d.leads, lead{from: from, to: g.Step, asking: g.Problem != nil, at: n})
}

// known notes the use of a variable that some step must collect.
func (d *draft) known(name string, line int) { d.uses = append(d.uses, use{name, line}) }

// knownAgain is known that also accepts the variable with the reason for a rejected answer.
func (d *draft) knownAgain(name string, line int) {
	if name != "problem" {
		d.known(name, line)
	}
}

func (d *draft) collected(n *yaml.Node, fields ...string) {
	for _, field := range fields {
		d.known(field, n.Line)
	}
}

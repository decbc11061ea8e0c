package knowledge

import (
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/chatledger/chatledger/domain/dialog"
)

// Limits of how long a workflow waits for its customer.
const (
	minIdle = time.Minute
	maxIdle = 30 * 24 * time.Hour
)

// draft is a workflow under reading, with what the lines of its file are needed for
// when all of it is known.
type draft struct {
	page
	*dialog.Workflow
	node   *yaml.Node
	lines  map[dialog.Step]*yaml.Node
	leads  []lead
	uses   []use
	fields map[string]bool // that something collects
}

// lead is a way from a step to another, or to an end.
type lead struct {
	from, to  dialog.Step
	confirmed bool // by the customer's yes
	asking    bool // something that the customer can answer must be at the other end
	at        *yaml.Node
}

// use is a variable, or the name of a field, that must be collected somewhere.
type use struct {
	name string
	line int
}

// problem is the field that says why an answer was not taken.
const problem = "problem"

// workflow reads a file of workflows/, which is called like the workflow.
func (r *reading) workflow(p page, called string) {
	w := &dialog.Workflow{Name: called, Idle: dialog.DefaultIdle}
	d := &draft{page: p, Workflow: w, lines: map[dialog.Step]*yaml.Node{}, fields: map[string]bool{customer: true, title: true, problem: true}}
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

// kinds are what a step may be, by the key that says so.
var kinds = []string{"ask", "call", "confirm", "say"}

// step reads one step of the list.
func (d *draft) step(n *yaml.Node) {
	s := dialog.StepDef{}
	var kind []string
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		switch key := n.Content[i].Value; {
		case key == "name":
			s.Name = dialog.Step(d.name(n.Content[i+1], "a step"))
		case slices.Contains(kinds, key):
			kind = append(kind, key)
		}
	}
	switch other, twice := d.lines[s.Name]; {
	case n.Kind != yaml.MappingNode || s.Name == "":
		d.wrong(n, "name is missing: a step is written as `- name: asking_number`, and what it does below")
		return
	case s.Name == dialog.Initial || s.Name.Ended():
		d.wrong(n, "%s is how every workflow begins or ends: choose another name", s.Name)
	case twice:
		d.wrong(n, "the step %s stands in line %d already: choose another name", s.Name, other.Line)
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

func (d *draft) ask(n *yaml.Node, step dialog.Step) *dialog.Ask {
	a := &dialog.Ask{}
	var next *yaml.Node
	d.object(n, "a step that asks", fields{
		"name": skip,
		"ask": func(n *yaml.Node) {
			a.Field = d.name(n, "a field")
			d.fields[a.Field] = true
		},
		"check": func(n *yaml.Node) {
			if a.Check = dialog.Check(n.Value); !slices.Contains(dialog.Checks, a.Check) {
				d.wrong(n, "there is no check %q; there are %s", n.Value, names(slices.Values(dialog.Checks)))
			}
		},
		"prompt":  func(n *yaml.Node) { a.Prompt = d.text(n, "prompt", maxText, d.known) },
		"again":   func(n *yaml.Node) { a.Again = d.text(n, "again", maxText, d.known) },
		"help":    func(n *yaml.Node) { a.Help = d.text(n, "help", maxText, d.known) },
		"only":    func(n *yaml.Node) { a.Only = d.flag(n, "only") },
		"choices": func(n *yaml.Node) { d.choices(n, step, a) },
		"hangs_on": func(n *yaml.Node) {
			a.HangsOn = d.names(n, "fields it hangs on")
			d.collected(n, a.HangsOn...)
		},
		"next": func(n *yaml.Node) {
			next = n
			a.Next = d.next(n, step, "next", nil)
		},
	})
	led := !slices.ContainsFunc(a.Choices, func(c dialog.Choice) bool { return c.Next.Step == "" })
	switch {
	case a.Prompt == nil:
		d.wrong(n, "prompt is missing: what does the step %s ask?", step)
	case a.Only && len(a.Choices) == 0:
		d.wrong(n, "only takes nothing but choices: write some")
	case next == nil && !(a.Only && led):
		d.wrong(n, "the step %s leads nowhere: write next", step)
	}
	return a
}

// choices reads buttons, each with its own way on or with that of the step.
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
		if slices.ContainsFunc(n.Content, func(key *yaml.Node) bool { return ways[key.Value] != nil }) {
			d.leadOn(n, step, "this choice", &c.Next)
		}
		a.Choices = append(a.Choices, c)
	})
}

// value is what a button sends back.
func (d *draft) value(n *yaml.Node, others []dialog.Choice) string {
	value, _ := d.scalar(n, "value")
	switch {
	case len(value) > maxValue || strings.Contains(value, ":"):
		d.wrong(n, "the value %q travels in a button: use up to %d bytes, without a colon", value, maxValue)
	case slices.ContainsFunc(others, func(c dialog.Choice) bool { return c.Value == value }):
		d.wrong(n, "the value %q stands in this step twice", value)
	}
	return value
}

func (d *draft) call(n *yaml.Node, step dialog.Step) *dialog.Call {
	c := &dialog.Call{}
	var tool dialog.Tool
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == "call" {
			tool = d.tool(n.Content[i+1])
			c.Tool = tool.Name
		}
	}
	result := func(name string, line int) {
		if field, of := strings.CutPrefix(name, "result."); !of {
			d.known(name, line)
		} else if tool.Name != "" && !has(tool.Output, field) {
			d.mistake(d.file, line, "the tool %s answers no %q; it answers %s", tool.Name, field, fieldNames(tool.Output))
		}
	}
	d.object(n, "a step that calls a tool", fields{
		"name":  skip,
		"call":  skip,
		"input": func(n *yaml.Node) { c.Input = d.input(n, tool) },
		"wait":  func(n *yaml.Node) { c.Wait = d.text(n, "wait", maxText, d.known) },
		"cases": func(n *yaml.Node) {
			d.list(n, "cases", maxChoices, func(n *yaml.Node) { c.Cases = append(c.Cases, d.caseOf(n, step, tool, result)) })
		},
		"next":    skip, // is the last of the cases, wherever it stands
		"failed":  func(n *yaml.Node) { c.Failed = d.next(n, step, "failed", nil) },
		"without": func(n *yaml.Node) { c.Without = d.next(n, step, "without", nil) },
	})
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == "next" {
			c.Cases = append(c.Cases, dialog.Case{Next: d.next(n.Content[i+1], step, "next", result)})
		}
	}
	for _, field := range tool.Input {
		if _, given := c.Input[field.Name]; !given && !field.Optional {
			d.wrong(n, "the tool %s needs the input %s: write it under input", tool.Name, field.Name)
		}
	}
	for _, missing := range []struct {
		is   bool
		says string
	}{
		{len(c.Cases) == 0 || len(c.Cases[len(c.Cases)-1].When) > 0, "next: what follows all answers that no case is about"},
		{c.Failed.Step == "", "failed: what follows when it cannot be done"},
		{c.Without.Step == "", "without: what follows where the bot does not have the tool"},
	} {
		if missing.is {
			d.wrong(n, "the step %s leads nowhere in one case: write %s", step, missing.says)
		}
	}
	return c
}

func (d *draft) tool(n *yaml.Node) dialog.Tool {
	tool, ok := dialog.Toolbox[n.Value]
	if !ok {
		d.wrong(n, "there is no tool %q; there are %s", n.Value, names(maps.Keys(dialog.Toolbox)))
	}
	return tool
}

func (d *draft) input(n *yaml.Node, tool dialog.Tool) map[string]string {
	input := map[string]string{}
	d.pairs(n, "input", func(key, value *yaml.Node) {
		if tool.Name != "" && !has(tool.Input, key.Value) {
			d.wrong(key, "the tool %s takes no %q; it takes %s", tool.Name, key.Value, fieldNames(tool.Input))
		}
		input[key.Value] = d.sentence(value, "an input", maxText, d.known)
	})
	return input
}

func has(all []dialog.Field, name string) bool {
	return slices.ContainsFunc(all, func(f dialog.Field) bool { return f.Name == name })
}

func fieldNames(all []dialog.Field) string {
	list := make([]string, len(all))
	for i, f := range all {
		list[i] = f.Name
	}
	return names(slices.Values(list))
}

// caseOf reads what follows some of a tool's answers.
func (d *draft) caseOf(n *yaml.Node, step dialog.Step, tool dialog.Tool, result variables) dialog.Case {
	c := dialog.Case{When: map[string]string{}}
	d.object(n, "a case", with(d.ways(&c.Next, result), fields{
		"when": func(n *yaml.Node) {
			d.pairs(n, "when", func(key, value *yaml.Node) {
				if tool.Name != "" && !has(tool.Output, key.Value) {
					d.wrong(key, "the tool %s answers no %q; it answers %s", tool.Name, key.Value, fieldNames(tool.Output))
				}
				c.When[key.Value] = value.Value
			})
		},
	}))
	if len(c.When) == 0 {
		d.wrong(n, "when is missing: say which answers this case is about, or write it as next of the step")
	}
	d.leadOn(n, step, "this case", &c.Next)
	return c
}

func (d *draft) confirm(n *yaml.Node, step dialog.Step) *dialog.Confirm {
	c := &dialog.Confirm{}
	d.object(n, "a step that confirms", fields{
		"name":    skip,
		"confirm": func(n *yaml.Node) { c.Prompt = d.text(n, "confirm", maxText, d.known) },
		"yes":     func(n *yaml.Node) { c.Yes = d.text(n, "yes", maxLabel, d.known) },
		"change":  func(n *yaml.Node) { c.Change = d.text(n, "change", maxLabel, d.known) },
		"toast":   func(n *yaml.Node) { c.Toast = d.text(n, "toast", maxToast, d.known) },
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
		d.wrong(n, "the step %s leads nowhere: write next for the yes, and correct for the no", step)
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
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == "say" {
			g.Say = d.text(n.Content[i+1], "say", maxText, d.known)
		}
	}
	if g.Step == "" {
		d.wrong(n, "the step %s leads nowhere: write next", step)
	}
	return g
}

// next reads where a step leads: a name, or a name with what happens on the way.
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

// ways are the keys of a way on.
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

// leadOn notes where a way leads. One to a person ends the workflow.
func (d *draft) leadOn(n *yaml.Node, from dialog.Step, what string, g *dialog.Goto) {
	handed := g.HandOver.Reason != ""
	switch {
	case g.Step == "" && handed:
		g.Step = dialog.HandedOver
	case g.Step == "":
		d.wrong(n, "%s leads nowhere: write a step, completed, or hand_over", what)
	case handed && g.Step != dialog.HandedOver:
		d.wrong(n, "%s leads both to %s and to a person: remove one", what, g.Step)
	case !handed && g.Step == dialog.HandedOver:
		d.wrong(n, "%s leads to a person: write hand_over with the reason", what)
	case g.Step == dialog.Initial || g.Step == dialog.Expired:
		d.wrong(n, "%s leads to %s, where only the bot itself goes: write another step", what, g.Step)
	}
	d.leads = append(d.leads, lead{from: from, to: g.Step, asking: g.Problem != nil, at: n})
}

// known notes a variable that some step must collect.
func (d *draft) known(name string, line int) { d.uses = append(d.uses, use{name, line}) }

func (d *draft) collected(n *yaml.Node, fields ...string) {
	for _, field := range fields {
		d.known(field, n.Line)
	}
}

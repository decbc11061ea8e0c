package dialog

import (
	"cmp"
	"maps"
	"slices"
)

// maxHops bounds the steps that a workflow goes on by itself: one that leads in
// circles is handed to a person.
const maxHops = 32

// start begins a topic's workflow. What the customer wrote may answer its first steps.
func (t *talk) start(topic Topic) {
	def := t.Knowledge.Workflows[topic.Workflow]
	if def == nil || len(def.Steps) == 0 {
		t.lost()
		return
	}
	if t.passing(def) {
		return
	}
	t.say(t.text(topic.Say))
	t.seen = t.act.Text
	t.move(Move{Workflow: def.Name, To: Initial})
	t.enter(Move{To: def.Steps[0].Name, Set: t.chosenAtStart(def)})
}

// move notes a step and follows it, so that the next one begins there.
func (t *talk) move(m Move) {
	m.Workflow, m.By = cmp.Or(m.Workflow, t.Run.Workflow), t.act.By
	if m.From = t.Run.Step; m.To == Initial {
		m.From = ""
	}
	if t.act.Button != "" {
		m.Source = 0 // a message of the bot's own
	}
	t.turn.Moves = append(t.turn.Moves, m)
	t.Run = t.Run.Follow(m, t.act.At)
}

// enter takes the run to a step, and does what is to be done there.
func (t *talk) enter(m Move) {
	detour := slices.Contains(t.Run.Path, m.To)
	t.move(m)
	if m.To.Ended() {
		t.comeBack()
		return
	}
	def := t.def()
	if t.hops++; def == nil || t.hops > maxHops {
		t.lost()
		return
	}
	switch {
	case def.Ask != nil && detour:
		t.prompt("")
	case def.Ask != nil:
		t.ask(def)
	case def.Confirm != nil:
		t.prompt("")
	case def.Call != nil:
		t.call(def.Call)
	case def.Say != nil:
		t.follow(*def.Say, nil)
	}
}

// workflow is the one that runs; nil when the knowledge has none such.
func (t *talk) workflow() *Workflow { return t.Knowledge.Workflows[t.Run.Workflow] }

// def is the step where the run stands; nil when the knowledge has none such.
func (t *talk) def() *StepDef { return t.workflow().step(t.Run.Step) }

// follow goes where a step leads. result is what a tool answered.
func (t *talk) follow(g Goto, result map[string]string) {
	values := map[string]string{}
	for name, value := range result {
		values["result."+name] = value
	}
	move := Move{To: g.Step, Cleared: g.Clear}
	for field, value := range g.Set {
		if move.Set == nil {
			move.Set = map[string]string{}
		}
		move.Set[field] = fill(value, values, t.Run.Data)
	}
	known := move.Collect(t.Run.Data)
	switch {
	case g.HandOver.Reason != "":
		t.handOver(g.HandOver, cmp.Or(t.text(g.Say, values, known), t.word(WordFailed)))
	case len(g.Problem) > 0:
		t.refuse(t.workflow().step(g.Step), t.text(g.Problem, values, known))
	default:
		t.say(t.text(g.Say, values, known))
		t.enter(move)
	}
}

// call has a tool used, when the bot has it. Of a workflow that is set aside it is used later.
func (t *talk) call(c *Call) {
	if t.later {
		return
	}
	if !t.Tools[c.Tool] {
		t.follow(c.Without, nil)
		return
	}
	t.turn.Call = ToolCall{Tool: c.Tool, Input: c.input(t.Run.Data)}
	t.Run.Calling, t.Run.Writing = c.Tool, Toolbox[c.Tool].Writes
}

// lost ends a run that the knowledge does not know how to go on with.
func (t *talk) lost() {
	t.handOver(HandOver{ReasonLost, Normal}, t.word(WordUnavailable)+" "+t.word(WordPerson))
}

// Returned goes on with a workflow once the tool has answered that it waits for.
// Without an answer it failed for good.
func Returned(c Context, output map[string]string, failed bool, at Act) Turn {
	t := begin(c, at)
	def := t.def()
	switch {
	case def == nil || def.Call == nil:
		t.lost()
	case failed:
		t.follow(orHandOver(def.Call.Failed, def.Call.Tool), nil)
	default:
		t.follow(def.Call.next(output), t.worded(def.Call.Tool, output))
	}
	return t.done()
}

// next is what follows a tool's answer. An answer that no case expects is a failure.
func (c *Call) next(output map[string]string) Goto {
	for _, one := range c.Cases {
		fits := true
		for name, value := range one.When {
			fits = fits && output[name] == value
		}
		if fits {
			return one.Next
		}
	}
	return orHandOver(c.Failed, c.Tool)
}

func orHandOver(g Goto, tool string) Goto {
	if g.Step == "" && g.HandOver.Reason == "" {
		g.HandOver = HandOver{ReasonToolFailed, Normal}
	}
	return g
}

// Resume goes on with a run in another chat, whose messages and buttons it does not
// know: the bot asks once more what it had asked last.
func Resume(c Context, left Run, at Act) Turn {
	t := begin(c, at)
	w := t.Knowledge.Workflows[left.Workflow]
	if def := w.step(left.Step); def != nil && def.Call != nil { // its answer went to the other chat
		left.Step = w.Steps[0].Name
		for _, name := range slices.Backward(left.Path) {
			if d := w.step(name); d != nil && d.Call == nil {
				left.Step = name
				break
			}
		}
	}
	t.move(Move{Workflow: left.Workflow, To: Initial})
	t.move(Move{To: left.Step, Set: maps.Clone(left.Data)})
	t.prompt("")
	return t.done()
}

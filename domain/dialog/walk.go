package dialog

import (
	"cmp"
	"maps"
	"slices"
	"strings"
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

// chosenAtStart are the choices that the message which begins a workflow makes for later
// steps, when another question comes before them: who wrote that their lamp came broken is
// asked for the order, and not for what is wrong with it. A tree of choices is walked one
// by one instead.
func (t *talk) chosenAtStart(def *Workflow) (set map[string]string) {
	if first := def.Steps[0].Ask; first == nil || first.FromStart {
		return nil
	}
	for _, step := range def.Steps[1:] {
		if step.Ask == nil || !step.Ask.FromStart {
			continue
		}
		if c, ok := t.chosen(step.Ask, t.seen); ok {
			if set == nil {
				set = map[string]string{}
			}
			set[step.Ask.Field] = c.Value
		}
	}
	return set
}

// passing asks what a brief workflow asks of a tool, if the message says all that takes.
// What comes of it must be an end: nothing can be asked back.
func (t *talk) passing(def *Workflow) bool {
	if !def.Brief || t.act.Text == "" {
		return false
	}
	data := map[string]string{}
	for step := &def.Steps[0]; step != nil; {
		switch {
		case step.Ask != nil:
			found := step.Ask.Check.find(t.act.Text)
			if found == "" || len(data) > len(def.Steps) {
				return false
			}
			data[step.Ask.Field] = found
			step = def.step(step.Ask.Next.Step)
		case step.Call != nil && t.Tools[step.Call.Tool] && !Toolbox[step.Call.Tool].Writes && step.Call.ends():
			t.turn.Call = ToolCall{step.Call.Tool, step.Call.input(data), &Question{def.Name, step.Name, data}}
			return true
		default:
			return false
		}
	}
	return false
}

// ends tells whether whatever a tool answers ends the workflow.
func (c *Call) ends() bool {
	for _, one := range c.Cases {
		if !one.Next.Step.Ended() {
			return false
		}
	}
	return c.Failed.Step == "" || c.Failed.Step.Ended()
}

func (c *Call) input(data map[string]string) map[string]string {
	input := map[string]string{}
	for name, value := range c.Input {
		if value = fill(value, data); value != "" {
			input[name] = value
		}
	}
	return input
}

// Reply is what a customer is told whose question was asked in passing, or the person
// who sees to it because the tool failed.
func (q Question) Reply(c Context, output map[string]string, failed bool, at Act) Turn {
	c.Run = Run{Workflow: q.Workflow, Step: q.Step, Data: q.Data}
	turn := Returned(c, output, failed, at)
	turn.Moves = nil
	return turn
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

// def is the step where the run stands; nil when the knowledge has none such.
func (t *talk) def() *StepDef { return t.Knowledge.Workflows[t.Run.Workflow].step(t.Run.Step) }

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
		t.refuse(t.Knowledge.Workflows[t.Run.Workflow].step(g.Step), t.text(g.Problem, values, known))
	default:
		t.say(t.text(g.Say, values, known))
		t.enter(move)
	}
}

// ask asks for a field, unless it is answered already: in the message that began the
// workflow, or before an earlier answer was corrected. Who is sent back to a question is
// asked anew.
func (t *talk) ask(def *StepDef) {
	if found := def.Ask.Check.find(t.seen); found != "" {
		t.take(def, found)
		return
	}
	if c, ok := t.chosen(def.Ask, t.seen); ok && def.Ask.FromStart {
		t.take(def, c.Value)
		return
	}
	if known, ok := t.Run.Data[def.Ask.Field]; ok {
		if value, problem := def.Ask.read(t, known); problem == "" {
			t.take(def, value)
			return
		}
	}
	t.prompt("")
}

// prompt says what a step waits for, after what goes before it.
func (t *talk) prompt(before string) {
	def := t.def()
	if before != "" {
		before += "\n\n"
	}
	switch {
	case def == nil:
		t.lost()
	case def.Ask != nil:
		t.say(before+t.text(def.Ask.Prompt), t.choices(def.Ask)...)
	case def.Confirm != nil:
		t.say(before+t.text(def.Confirm.Prompt), t.confirmation(def.Confirm)...)
	default:
		t.say(before + t.waiting())
	}
}

// Values of the buttons that every workflow may have.
const (
	valueYes    = "yes"
	valueChange = "change"
	valueCancel = "cancel"
	valueBack   = "back"
	valueSwitch = "switch"
	valueStay   = "stay"
	valueGoOn   = "go_on"
)

func (t *talk) choices(a *Ask) (buttons []Button) {
	for _, c := range a.Choices {
		buttons = append(buttons, Button{t.text(c.Label), t.stepData(c.Value)})
	}
	return buttons
}

func (t *talk) confirmation(c *Confirm) []Button {
	return []Button{
		{cmp.Or(t.text(c.Yes), t.word(LabelYes)), t.stepData(valueYes)},
		{cmp.Or(t.text(c.Change), t.word(LabelChange)), t.stepData(valueChange)},
		{t.word(LabelCancel), t.stepData(valueCancel)},
	}
}

// call has a tool used, when the bot has it.
func (t *talk) call(c *Call) {
	if !t.Tools[c.Tool] {
		t.follow(c.Without, nil)
		return
	}
	t.turn.Call = ToolCall{Tool: c.Tool, Input: c.input(t.Run.Data)}
	t.Run.Calling, t.Run.Writing = c.Tool, Toolbox[c.Tool].Writes
}

// plainAnswer is what the message answers, whatever else could be made of it: an
// address where one was asked for, the words on a button.
func (t *talk) plainAnswer() (def *StepDef, value string, ok bool) {
	if !t.Run.Active() || t.Run.Writing || t.Run.Offered.Intent != "" && t.saysYesOrNo() {
		return nil, "", false
	}
	if def = t.asked(); def == nil || t.Run.Calling != "" && t.brief() {
		return nil, "", false // a further question, not another answer
	}
	if def.Name == t.Run.Step {
		if c, chosen := t.chosen(def.Ask, t.act.Text); chosen {
			return def, c.Value, true
		}
	}
	if !def.Ask.Check.plain(t.act.Text) {
		return nil, "", false
	}
	value, problem := def.Ask.read(t, t.act.Text)
	same := def.Name != t.Run.Step && t.Run.Data[def.Ask.Field] == value && t.Run.Calling != ""
	return def, value, problem == "" && !same
}

// brief tells whether what runs is.
func (t *talk) brief() bool {
	def := t.Knowledge.Workflows[t.Run.Workflow]
	return def != nil && def.Brief
}

// asked is the step whose question was the last.
func (t *talk) asked() *StepDef {
	w := t.Knowledge.Workflows[t.Run.Workflow]
	if def := w.step(t.Run.Step); def != nil && def.Ask != nil {
		return def
	}
	for _, name := range slices.Backward(t.Run.Path) {
		if def := w.step(name); def != nil && def.Ask != nil {
			return def
		}
	}
	return nil
}

// answered is the step that a message answered; nil when it answered none.
func (t *talk) answered(message int64) *StepDef {
	w := t.Knowledge.Workflows[t.Run.Workflow]
	if !t.Run.Active() || w == nil {
		return nil
	}
	for i := range w.Steps {
		if a := w.Steps[i].Ask; a != nil && message != 0 && t.Run.Sources[a.Field] == message {
			return &w.Steps[i]
		}
	}
	if def := w.step(t.Run.Step); def != nil && def.Ask != nil && message != 0 && t.Run.Sources[FieldRefused] == message {
		return def // it was no answer yet
	}
	return nil
}

// claims marks the act as part of the workflow, whatever it looked like by itself.
func (t *talk) claims() {
	if t.turn.Intent != Pressed && t.turn.Intent != Corrected {
		t.turn.Intent, t.turn.Confidence = Answered, 1
	}
}

// answer takes what the customer answered to a step, or says what is wrong with it.
func (t *talk) answer(def *StepDef, value, problem string) {
	t.claims()
	if problem != "" {
		t.refuse(def, problem)
		return
	}
	t.take(def, value)
}

// take goes on with an answer. What hangs on it is asked again when it has changed.
func (t *talk) take(def *StepDef, value string) {
	before, had := t.Run.Data[def.Ask.Field]
	next := def.Ask.Next
	if c, chosen := def.Ask.choice(value); chosen && c.Next.Step != "" {
		next = c.Next
	}
	var cleared []string
	if w := t.Knowledge.Workflows[t.Run.Workflow]; had && before != value {
		for _, other := range w.Steps {
			if other.Ask != nil && slices.Contains(other.Ask.HangsOn, def.Ask.Field) {
				cleared = append(cleared, other.Ask.Field)
			}
		}
	}
	if _, had := t.Run.Data[FieldRefused]; had {
		cleared = append(cleared, FieldRefused)
	}
	if next.HandOver.Reason != "" {
		t.move(Move{To: t.Run.Step, Set: map[string]string{def.Ask.Field: value}, Source: t.act.MessageID})
		t.follow(next, nil)
		return
	}
	set := map[string]string{def.Ask.Field: value}
	for field, v := range next.Set {
		set[field] = fill(v, t.Run.Data)
	}
	known := Move{Set: set}.Collect(t.Run.Data)
	t.say(t.text(next.Say, known))
	t.enter(Move{To: next.Step, Set: set, Cleared: append(cleared, next.Clear...), Source: t.act.MessageID})
}

// FieldRefused is the field that holds why the last answer was not taken, until one is:
// no workflow collects another under its name.
const FieldRefused = "refused"

// refuse says why an answer is not taken, and waits for another. Who fails again and
// again is helped by a person.
func (t *talk) refuse(def *StepDef, problem string) {
	if def == nil || def.Ask == nil {
		t.lost()
		return
	}
	t.move(Move{To: def.Name, Set: map[string]string{FieldRefused: problem}, Source: t.act.MessageID})
	for _, rule := range t.Knowledge.Rules {
		if rule.Failures > 0 && t.fits(rule, Understanding{Intent: Answered, words: wordsOf(t.act.Text)}) {
			t.handOver(HandOver{rule.Name, rule.Priority}, cmp.Or(t.text(rule.Say), t.word(WordPerson)))
			return
		}
	}
	again := t.text(def.Ask.Again, map[string]string{"problem": problem})
	if again == "" {
		again = strings.ToUpper(problem[:1]) + problem[1:] + "."
		again += "\n" + t.text(def.Ask.Prompt)
	}
	t.say(again, t.choices(def.Ask)...)
}

// hearStep takes a message within a workflow. Questions are answered in passing.
func (t *talk) hearStep(u Understanding) {
	def := t.def()
	if def == nil {
		t.lost()
		return
	}
	if t.Run.Offered.Intent != "" && t.decideOffer(u) {
		return
	}
	own := t.Knowledge.Topics[u.Intent].Workflow == t.Run.Workflow
	if def.Ask != nil && u.Intent != Cancel && u.Confidence < t.Knowledge.Plain {
		u.Intent = Unknown // it is rather a try at an answer
	}
	switch {
	case def.Confirm != nil && t.Knowledge.Means(PhraseYes, t.act.Text):
		t.claims()
		t.confirm(def.Confirm)
	case def.Confirm != nil && t.Knowledge.Means(PhraseNo, t.act.Text):
		t.claims()
		t.correct(def.Confirm)
	case t.Run.Writing && (u.Intent == Cancel || u.Intent == Start || u.Intent == Back):
		t.where()
	case u.Intent == Cancel:
		t.cancel()
	case u.Intent == Start:
		t.move(Move{To: Cancelled})
		t.wish(u)
	case u.Intent == Back:
		t.back()
	case u.Intent == Help:
		t.where()
	case u.Intent != Unknown && (!own || def.Call != nil && t.brief()):
		t.other(u)
	case def.Ask != nil && own && def.Ask.Check.refusesWish(t.act.Text):
		t.claims()
		t.prompt("")
	case def.Ask != nil:
		value, problem := def.Ask.read(t, t.act.Text)
		t.answer(def, value, problem)
	default:
		t.claims()
		t.where()
	}
}

// confirm goes on with what was shown.
func (t *talk) confirm(c *Confirm) {
	t.turn.Toast = cmp.Or(t.text(c.Toast), t.word(ToastOK))
	t.follow(c.Next, nil)
}

// correct goes back to the step that asks again.
func (t *talk) correct(c *Confirm) {
	t.turn.Toast = t.word(ToastOK)
	def := t.Knowledge.Workflows[t.Run.Workflow].step(c.Correct.Step)
	if def == nil || def.Ask == nil || len(c.Correct.Say) == 0 {
		t.follow(c.Correct, nil)
		return
	}
	t.move(Move{To: def.Name})
	t.say(t.text(c.Correct.Say), t.choices(def.Ask)...)
}

func (t *talk) cancel() {
	t.turn.Toast = t.word(ToastCancelled)
	t.say(t.word(WordCancelled))
	t.enter(Move{To: Cancelled})
}

// back goes to the question before this one, and forgets what it was answered.
func (t *talk) back() {
	w := t.Knowledge.Workflows[t.Run.Workflow]
	for _, name := range slices.Backward(t.Run.Path) {
		if def := w.step(name); def != nil && def.Ask != nil {
			move := Move{To: name}
			if _, had := t.Run.Data[def.Ask.Field]; had {
				move.Cleared = []string{def.Ask.Field}
			}
			t.move(move)
			t.prompt("")
			return
		}
	}
	t.prompt(t.word(WordNothingBefore))
}

// pressStep handles a button of the step where the run stands; false when it has none
// such.
func (t *talk) pressStep(value string) bool {
	def := t.def()
	if def == nil {
		return false
	}
	t.turn.Toast = t.word(ToastOK)
	switch {
	case value == valueSwitch || value == valueStay:
		return t.pressOffer(value)
	case t.Run.Writing:
		return false
	case value == valueCancel:
		t.cancel()
	case value == valueBack:
		t.back()
	case value == valueGoOn:
		t.prompt("")
	case def.Confirm != nil && value == valueYes:
		t.confirm(def.Confirm)
	case def.Confirm != nil && value == valueChange:
		t.correct(def.Confirm)
	case def.Ask != nil:
		if _, ok := def.Ask.choice(value); !ok {
			return false
		}
		t.take(def, value)
	default:
		return false
	}
	return true
}

// where tells the customer where the workflow stands, and the way on.
func (t *talk) where() {
	switch def := t.def(); {
	case def == nil:
		t.lost()
	case def.Confirm != nil:
		t.prompt("")
	case def.Ask != nil && len(def.Ask.Help) > 0:
		t.say(t.text(def.Ask.Help), t.choices(def.Ask)...)
	default:
		t.prompt("")
	}
}

// waiting is what the customer hears while a tool is used.
func (t *talk) waiting() string {
	if def := t.def(); def != nil && def.Call != nil {
		return cmp.Or(t.text(def.Call.Wait), t.word(WordWaiting))
	}
	return t.word(WordWaiting)
}

// lost ends a run that the knowledge does not know how to go on with.
func (t *talk) lost() {
	t.handOver(HandOver{ReasonLost, Normal}, t.word(WordUnavailable)+" "+t.word(WordPerson))
}

// chosen is the choice that a text names, by its label or by words that mean it.
func (t *talk) chosen(a *Ask, text string) (Choice, bool) {
	words := wordsOf(text)
	for _, c := range a.Choices {
		if words == wordsOf(t.text(c.Label)) || words == wordsOf(c.Value) || containsAny(words, c.Words) {
			return c, strings.TrimSpace(words) != ""
		}
	}
	return Choice{}, false
}

func (a *Ask) choice(value string) (Choice, bool) {
	i := slices.IndexFunc(a.Choices, func(c Choice) bool { return c.Value == value })
	if i < 0 {
		return Choice{}, false
	}
	return a.Choices[i], true
}

// read makes a value of a typed answer, or says what is wrong with it.
func (a *Ask) read(t *talk, text string) (value, problem string) {
	if c, ok := t.chosen(a, text); ok {
		return c.Value, ""
	}
	if _, ok := a.choice(text); ok {
		return text, ""
	}
	if a.Only {
		return "", t.word(ProblemChoice)
	}
	value, why := a.Check.read(text)
	if why != "" {
		return value, t.word(why)
	}
	return value, ""
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
		t.follow(def.Call.next(output), output)
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
	def := t.Knowledge.Workflows[left.Workflow].step(left.Step)
	if def != nil && def.Call != nil { // its answer went to the other chat
		left.Step = ""
		for _, name := range slices.Backward(left.Path) {
			if d := t.Knowledge.Workflows[left.Workflow].step(name); d != nil && d.Call == nil {
				left.Step = name
				break
			}
		}
		if left.Step == "" {
			left.Step = t.Knowledge.Workflows[left.Workflow].Steps[0].Name
		}
	}
	t.move(Move{Workflow: left.Workflow, To: Initial})
	t.move(Move{To: left.Step, Set: maps.Clone(left.Data)})
	t.prompt("")
	return t.done()
}

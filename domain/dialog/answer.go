package dialog

import (
	"cmp"
	"slices"
	"strings"
)

// Answers to a step: how a message is recognised as one, parsed, and accepted or rejected.

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

// ask asks for a field, unless it is answered already: in the message that began the
// workflow, or before an earlier answer was corrected. A customer who goes back to a question is
// asked again.
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

// brief reports whether what runs is.
func (t *talk) brief() bool {
	def := t.workflow()
	return def != nil && def.Brief
}

// asked is the step whose question was the last.
func (t *talk) asked() *StepDef {
	w := t.workflow()
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
	w := t.workflow()
	if !t.Run.Active() || w == nil {
		return nil
	}
	if def := t.sourced(message); def != nil {
		return def
	}
	if def := w.step(t.Run.Step); def != nil && def.Ask != nil && message != 0 &&
		t.Run.Sources[FieldRefused] == message {
		return def // it was no answer yet
	}
	return nil
}

// sourced is the step whose field came from a message; nil when none did.
func (t *talk) sourced(message int64) *StepDef {
	w := t.workflow()
	if w == nil {
		return nil
	}
	for i := range w.Steps {
		if a := w.Steps[i].Ask; a != nil && message != 0 && t.Run.Sources[a.Field] == message {
			return &w.Steps[i]
		}
	}
	return nil
}

// redo begins a workflow that is completed again, from an answer that the customer has
// corrected since; false when the edited message was no answer to it. What it changes is confirmed
// anew on the way.
func (t *talk) redo() bool {
	if t.Run.Step != Completed || t.workflow() == nil || t.act.At.Sub(t.Run.LastAt) >= takeUpWithin {
		return false
	}
	def := t.sourced(t.act.MessageID)
	if def == nil {
		return false
	}
	value, problem := def.Ask.read(t, t.act.Text)
	if problem != "" || value == t.Run.Data[def.Ask.Field] {
		return true
	}
	known := t.Run.Data
	t.move(Move{To: Initial})
	t.move(Move{To: def.Name, Set: known})
	t.take(def, value)
	return true
}

// hearAgain answers an edited message that was no answer to a workflow, if it now wants something
// else than when it was answered. A running workflow takes it for an answer only if it is the message
// that began it.
func (t *talk) hearAgain() {
	if t.Before == "" || strings.TrimSpace(t.act.Text) == "" {
		return
	}
	k := t.Knowledge
	before, now := k.Understand(t.Before, t.Language), k.Understand(t.act.Text, t.Language)
	_, urgent := t.needsPerson(now)
	same := before.Intent == now.Intent && slices.Equal(before.Orders, now.Orders)
	if before.words == now.words || same && !urgent && !t.thinks(now, k.Topics[now.Intent]) {
		return
	}
	if now.Intent == Unknown && t.sourced(t.act.MessageID) != nil {
		return // another answer to what is over
	}
	defer func() { t.turn.Intent, t.turn.Confidence = Corrected, 1 }()
	began := k.Topics[before.Intent].Workflow == t.Run.Workflow
	switch {
	case !t.Run.Active() || began || urgent:
		t.hear()
	case now.Confidence >= k.Plain && k.Topics[now.Intent].Workflow != t.Run.Workflow:
		t.serve(t.wishes(now))
	}
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
	w, orders := t.workflow(), orderNumbers(t.act.Text)
	t.take(def, value)
	if def.Ask.Check != CheckOrderNumber || !w.Brief || t.turn.HandOver.Reason != "" {
		return
	}
	for _, order := range orders { // each is looked up
		if call, ok := t.aside(w, order); ok && order != value {
			t.turn.Asides = append(t.turn.Asides, call)
		}
	}
}

// take goes on with an answer. What hangs on it is asked again when it has changed.
func (t *talk) take(def *StepDef, value string) {
	before, had := t.Run.Data[def.Ask.Field]
	next := def.Ask.Next
	if c, chosen := def.Ask.choice(value); chosen && c.Next.Step != "" {
		next = c.Next
	}
	var cleared []string
	if w := t.workflow(); had && before != value {
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

// refuse gives the reason why an answer is rejected, and waits for another. After several
// rejected answers an operator takes over.
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
	if a.Check == CheckText && (t.Knowledge.Means(PhraseYes, text) || t.Knowledge.Means(PhraseNo, text)) {
		why = ProblemShort // to a question that is not answered by it
	}
	if why != "" {
		return value, t.word(why)
	}
	return value, ""
}

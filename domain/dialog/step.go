package dialog

import (
	"cmp"
	"slices"
	"strings"
)

// The texts and buttons that a step accepts.

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

// hearStep takes a message within a workflow. Questions are answered in passing.
func (t *talk) hearStep(u Understanding) {
	def := t.def()
	if def == nil {
		t.lost()
		return
	}
	// A cancel in answer to the offer to switch cancels the running workflow.
	if t.Run.Offered.Intent != "" && t.decide(t.pressOffer, t.switchButtons(t.Run.Offered)) ||
		def.Confirm != nil && t.decide(t.pressStep, t.confirmation(def.Confirm)) {
		return
	}
	own := t.Knowledge.Topics[u.Intent].Workflow == t.Run.Workflow
	if def.Ask != nil && u.Intent != Cancel && u.Confidence < t.plainly(def.Ask, u) {
		u.Intent = Unknown // it is rather a try at an answer
	}
	switch {
	case t.Run.Writing && (u.Intent == Cancel || u.Intent == Start || u.Intent == Back):
		t.where()
	case u.Intent == Cancel:
		t.cancel()
	case u.Intent == Start:
		t.say(t.word(WordCancelled))
		for _, m := range t.Run.Dropped().Moves {
			t.move(m)
		}
		t.wish(u)
	case u.Intent == Back:
		t.back()
	case u.Intent == Help:
		t.where()
	case u.Intent != Unknown && (!own || def.Call != nil && t.brief()):
		t.serve(t.wishes(u))
	case def.Ask != nil && own && def.Ask.Check.refusesWish(t.act.Text):
		t.claims()
		t.prompt("")
	case def.Ask != nil:
		value, problem := def.Ask.read(t, t.act.Text)
		t.answer(def, value, problem)
	case def.Confirm != nil && t.beginsWithNo(): // what follows the no is what should be there instead
		t.claims()
		t.correct(def.Confirm)
	default:
		t.claims()
		t.where()
	}
}

func (t *talk) beginsWithNo() bool {
	words := strings.Fields(wordsOf(t.act.Text))
	return len(words) > 0 && t.Knowledge.Means(PhraseNo, words[0])
}

// surely is the confidence from which a plain statement is a wish for another workflow
// even where free words were asked for. A customer who describes a problem uses the words of
// other matters, "the switch doesn't work", and can still say so once their answer is shown.
const surely = 0.95

// plainly is the confidence from which a message is about something else than the question.
// A message with a question or an order number is not a description.
func (t *talk) plainly(a *Ask, u Understanding) float64 {
	free := !a.Only && (a.Check == "" || a.Check == CheckText)
	if free && t.Knowledge.Topics[u.Intent].Workflow != "" && len(u.Orders) == 0 && !strings.Contains(t.act.Text, "?") {
		return max(t.Knowledge.Plain, surely)
	}
	return t.Knowledge.Plain
}

// confirm goes on with what was shown.
func (t *talk) confirm(c *Confirm) {
	t.turn.Toast = cmp.Or(t.text(c.Toast), t.word(ToastOK))
	t.follow(c.Next, nil)
}

// correct goes back to the step that asks again.
func (t *talk) correct(c *Confirm) {
	t.turn.Toast = t.word(ToastOK)
	def := t.workflow().step(c.Correct.Step)
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
	w := t.workflow()
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
	case t.pressOffer(value):
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

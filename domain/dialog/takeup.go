package dialog

import (
	"strings"
	"time"

	"github.com/chatledger/chatledger/domain"
)

// A customer who answers the question of an expired workflow is asked whether to resume it with
// this answer. The data collected before is still there.

// takeUpWithin is how long ago a workflow may have expired to be taken up: on another day
// the same words rather mean something else.
const takeUpWithin = 24 * time.Hour

// lapsed is the step whose question was the last of a workflow that expired not long ago;
// nil when there is none.
func (t *talk) lapsed() *StepDef {
	if t.Run.Step != Expired || t.act.At.Sub(t.Run.LastAt) >= takeUpWithin {
		return nil
	}
	return t.asked()
}

// answersLapsed reports whether a message can hardly be anything but the answer that an
// expired workflow had waited for. A request for the workflow itself begins it again, and an
// order number beside other words belongs to another question.
func (t *talk) answersLapsed(u Understanding) bool {
	def := t.lapsed()
	if def == nil || t.Knowledge.Topics[u.Intent].Workflow == t.Run.Workflow || !def.Ask.Check.plain(t.act.Text) {
		return false
	}
	return u.Intent == Unknown || def.Ask.Check != CheckOrderNumber || len(strings.Fields(t.act.Text)) == 1
}

// mayAnswerLapsed reports whether a message of which nothing else is made would do as that
// answer. It is asked about once: who writes on has something else in mind. A bare yes is
// an answer to buttons only.
func (t *talk) mayAnswerLapsed() bool {
	def := t.lapsed()
	if def == nil || def.Name != t.Run.Path[len(t.Run.Path)-1] || t.Run.TakeUp.Step != "" ||
		len(def.Ask.Choices) == 0 && t.saysYesOrNo() {
		return false
	}
	_, problem := def.Ask.read(t, t.act.Text)
	return problem == ""
}

// offerTakeUp asks whether to take the expired workflow up with what was written.
func (t *talk) offerTakeUp() {
	t.turn.Replies = nil // the question says, too, that it has expired
	offer := TakeUp{Step: t.lapsed().Name, Text: t.act.Text, MessageID: t.act.MessageID}
	if t.Run.TakeUp.Step != "" {
		offer.Number = t.Run.TakeUp.Number + 1
	}
	t.turn.TakeUp = offer
	t.say(t.word(WordTakeUp,
		map[string]string{"text": domain.Shorten(strings.Join(strings.Fields(t.act.Text), " "), lineMax)}),
		t.takeUpButtons(offer)...)
}

func (t *talk) takeUpButtons(offer TakeUp) []Button {
	return []Button{
		{t.word(LabelGoOn), t.stepData(numbered(valueGoOn, offer.Number))},
		{t.word(LabelCancel), t.stepData(numbered(valueCancel, offer.Number))},
	}
}

// decideTakeUp takes a typed answer to that question; false when it is none. Nothing runs
// that cancelling could be about.
func (t *talk) decideTakeUp(u Understanding) bool {
	offered := t.Run.TakeUp
	if offered.Step == "" {
		return false
	}
	if u.Intent == Cancel {
		t.claims()
		return t.pressTakeUp(numbered(valueCancel, offered.Number))
	}
	return t.decide(t.pressTakeUp, t.takeUpButtons(offered))
}

// pressTakeUp goes on at the step that had asked, or leaves the workflow for good; false
// when nobody was asked that.
func (t *talk) pressTakeUp(value string) bool {
	offered := t.Run.TakeUp
	switch {
	case offered.Step == "":
		return false
	case value == numbered(valueCancel, offered.Number):
		t.turn.Toast = t.word(ToastCancelled)
		t.say(t.word(WordCancelled))
		t.move(Move{To: Cancelled})
		return true
	case value != numbered(valueGoOn, offered.Number):
		return false
	}
	t.turn.Toast = t.word(ToastOK)
	t.move(Move{To: offered.Step})
	t.act = Act{Text: offered.Text, MessageID: offered.MessageID, By: t.act.By, At: t.act.At}
	def := t.def()
	if def == nil || def.Ask == nil {
		t.lost()
		return true
	}
	value, problem := def.Ask.read(t, offered.Text)
	t.answer(def, value, problem)
	return true
}

package dialog

import (
	"strconv"
	"strings"
	"time"
)

// A message within a workflow that is about something else is answered in passing when
// a few words will do. Another workflow that is brief comes in between; for any other
// the customer is asked whether to switch. Either way the running workflow is set aside and
// resumed afterwards.

// other takes a message within a workflow that is about something else.
func (t *talk) other(u Understanding) {
	topic := t.Knowledge.Topics[u.Intent]
	def := t.Knowledge.Workflows[topic.Workflow]
	switch {
	case topic.HandOver.Reason != "":
		t.wish(u)
	case def == nil && len(topic.Answers) > 0:
		reply := t.answerTo(topic, u)
		t.where()
		if last := &t.turn.Replies[len(t.turn.Replies)-1]; t.Run.Active() {
			last.Text = reply.Text + "\n\n" + last.Text
		}
	case def == nil:
		t.where()
	case t.passing(def):
	case t.Run.Writing || topic.Workflow == t.Run.Workflow:
		t.where()
	case def.Brief:
		t.switchTo(u.Intent, t.act.Text)
	default:
		offer := Offer{Intent: u.Intent, Text: t.act.Text, MessageID: t.act.MessageID}
		if t.Run.Offered.Intent != "" {
			offer.Number = t.Run.Offered.Number + 1
		}
		t.turn.Offer = offer
		t.say(t.word(WordSwitch, map[string]string{"other": def.Title.in(t.Knowledge, t.Language)}),
			t.switchButtons(offer)...)
	}
}

// switchTo sets the workflow aside and begins another. What was set aside before it
// stays there; of two, the one that is left is over.
func (t *talk) switchTo(intent Intent, said string) {
	if t.Run.Under != nil {
		t.move(Move{To: Cancelled})
	} else {
		t.move(Move{Kind: Paused, To: t.Run.Step})
	}
	t.act.Text = said
	t.start(t.Knowledge.Topics[intent])
}

func (t *talk) saysYesOrNo() bool {
	return t.Knowledge.Means(PhraseYes, t.act.Text) || t.Knowledge.Means(PhraseNo, t.act.Text)
}

func (t *talk) switchButtons(offer Offer) []Button {
	return []Button{
		{t.word(LabelSwitch), t.stepData(numbered(valueSwitch, offer.Number))},
		{t.word(LabelStay), t.stepData(numbered(valueStay, offer.Number))},
	}
}

// decide takes a typed yes or no, or the words on a button, for a press of one of the first
// two buttons below a question, which say yes and no; false when it is neither.
func (t *talk) decide(press func(value string) bool, below []Button) bool {
	words := wordsOf(t.act.Text)
	for i, phrase := range []Phrase{PhraseYes, PhraseNo} {
		onButton := strings.TrimSpace(words) != "" && words == wordsOf(below[i].Text) // a label may be a sign alone
		if onButton || t.Knowledge.Means(phrase, t.act.Text) {
			t.claims()
			_, value, _ := strings.Cut(strings.TrimPrefix(below[i].Data, stepButton), ":")
			return press(value)
		}
	}
	return false
}

// numbered is the value of an offer's button. An offer moves nothing, so that several may
// be made at one move, of which only the last counts.
func numbered(value string, offer int) string {
	if offer == 0 {
		return value
	}
	return value + ":" + strconv.Itoa(offer)
}

// pressOffer switches, or goes on and takes for an answer what was one after all; false
// when it is another offer's button.
func (t *talk) pressOffer(value string) bool {
	offer := t.Run.Offered
	switches := value == numbered(valueSwitch, offer.Number)
	if offer.Intent == "" || !switches && value != numbered(valueStay, offer.Number) {
		return false
	}
	t.turn.Toast = t.word(ToastOK)
	if switches {
		t.switchTo(offer.Intent, offer.Text)
		return true
	}
	def := t.def()
	if def != nil && def.Ask != nil && offer.Text != "" {
		if read, problem := def.Ask.read(t, offer.Text); problem == "" {
			t.act.MessageID, t.act.Button = offer.MessageID, ""
			t.take(def, read)
			return true
		}
	}
	t.move(Move{To: t.Run.Step}) // the offer is over
	t.prompt("")
	return true
}

// comeBack goes on with what was set aside, once what came in between is over.
func (t *talk) comeBack() {
	if t.Run.Under == nil || t.Run.Step == HandedOver || t.Run.Step == Expired {
		return
	}
	under := *t.Run.Under
	t.move(Move{Kind: Resumed, Workflow: under.Workflow, To: under.Step})
	if def := t.def(); def != nil && def.Call != nil {
		t.Run.Calling = "" // whatever came of it, nobody waited
		t.call(def.Call)
		return
	}
	t.prompt(t.word(WordBackTo))
}

// idle is how long the running workflow waits for its customer.
func (t *talk) idle() time.Duration {
	if def := t.workflow(); def != nil && def.Idle > 0 {
		return def.Idle
	}
	return DefaultIdle
}

// expired reports whether the customer was away too long.
func (t *talk) expired() bool {
	since, waits := t.Run.IdleSince()
	return waits && t.act.At.Sub(since) >= t.idle()
}

// expire ends the workflow, and says so unless the customer did not ask.
func (t *talk) expire(aloud bool) {
	if aloud {
		t.say(t.word(WordExpired))
	}
	t.move(Move{To: Expired})
}

// Wake is when the time of a run comes that waits for its customer: first for a
// reminder, then for its end. Zero times never come.
func (k *Knowledge) Wake(r Run) (remind, expire time.Time) {
	since, waits := r.IdleSince()
	if !waits {
		return time.Time{}, time.Time{}
	}
	if k == nil {
		k = &Bare
	}
	t := &talk{Context: Context{Knowledge: k, Run: r}}
	if def := k.Workflows[r.Workflow]; def != nil && def.Remind > 0 && def.Remind < t.idle() && !r.Reminded {
		remind = since.Add(def.Remind)
	}
	return remind, since.Add(t.idle())
}

// Elapse is the bot's turn because of the time alone: it reminds the customer of a
// workflow, or ends it.
func Elapse(c Context, at time.Time) Turn {
	t := begin(c, Act{At: at})
	remind, _ := t.Knowledge.Wake(t.Run)
	switch {
	case t.expired():
		t.expire(true)
	case !remind.IsZero() && !at.Before(remind):
		t.turn.Reminded = true
		t.say(t.word(WordReminder), Button{t.word(LabelGoOn), t.stepData(valueGoOn)},
			Button{t.word(LabelCancel), t.stepData(valueCancel)})
	}
	return t.done()
}

// Dropped ends a workflow, with what was set aside for it, that its customer has left.
func (r Run) Dropped() Turn {
	moves := []Move{{Workflow: r.Workflow, From: r.Step, To: Cancelled}}
	if under := r.Under; under != nil {
		moves = append(moves, Move{Kind: Resumed, Workflow: under.Workflow, To: under.Step},
			Move{Workflow: under.Workflow, From: under.Step, To: Cancelled})
	}
	return Turn{Moves: moves}
}

// Package dialog decides what the bot says: intents, workflows and answers, as
// pure functions of what is known of the conversation and what the customer just
// did. It knows nothing of events, stores or Telegram.
package dialog

import "time"

// Context is what the dialogue knows of a conversation when the customer acts.
type Context struct {
	Run           Run    // the running workflow; the zero Run when there is none
	LastIntent    Intent // what the customer last wanted
	Misunderstood int    // messages in a row that nothing was made of
	CRM           bool   // addresses are checked and kept by a CRM, and not by our own rules alone
}

// Act is what the customer did: wrote, edited a message, or pressed a button.
type Act struct {
	Text      string // of a message, or of the edited message
	Edited    bool   // Text is the new text of message MessageID
	Button    string // callback data; empty unless a button was pressed
	MessageID int64
	Media     bool // the message carries more than text
	At        time.Time
}

// Turn is what the bot does about one act, in this order.
type Turn struct {
	Intent     Intent
	Confidence float64
	Moves      []Move   // steps of a workflow
	Lookup     string   // an order number to look up; the answer comes later
	Check      string   // an address that the CRM is to check; the answer comes later
	Save       string   // the billing address that the CRM is to keep; the answer comes later
	HandOver   HandOver // to a person; zero when the bot goes on alone
	Toast      string   // answer to a pressed button
	Replies    []Reply
}

// Reply is one message to the customer.
type Reply struct {
	Text    string
	Buttons []Button // one row below the text
}

// Button is an inline button; Data comes back when it is pressed (64 bytes at most).
type Button struct {
	Text string `json:"text"`
	Data string `json:"data"`
}

// HandOver says that a person is needed, why, and how much it hurries.
type HandOver struct {
	Reason   string
	Priority Priority
}

// Reasons for a hand-over.
const (
	ReasonAsked         = "asked"
	ReasonAngry         = "angry"
	ReasonNotUnderstood = "not_understood"
	ReasonNotHelped     = "troubleshooting_failed"
	ReasonCancelOrder   = "cancel_order"
	ReasonNotChecked    = "address_check_failed"
	ReasonNotSaved      = "address_update_failed"
)

// Misunderstandings is how many messages in a row may go un-understood before a
// person takes over: the first is asked about, the second is not the customer's fault.
const Misunderstandings = 2

// Take decides the bot's turn. Order matters: an outdated workflow ends first; an
// address is an address to the step that asked for one, whatever words it is made
// of; anger and a wish for a person win over a running step; and only what no step
// claims is looked at as a fresh question.
func Take(c Context, act Act) Turn {
	var turn Turn
	if c.Run.Expired(act.At) {
		turn.Moves = append(turn.Moves, c.Run.to(Expired))
		if act.Button == "" && !act.Edited {
			turn.Replies = append(turn.Replies, say(sayExpired))
		}
		c.Run = Run{Asked: c.Run.Asked}
	}
	switch {
	case act.Button != "":
		press(c, act, &turn)
	case act.Edited:
		edit(c, act, &turn)
	default:
		hear(c, act, &turn)
	}
	return turn
}

// hear answers a new message.
func hear(c Context, act Act, turn *Turn) {
	u := Understand(act.Text)
	turn.Intent, turn.Confidence = u.Intent, u.Confidence
	switch {
	case c.Run.Active() && isAddress(act.Text):
		c.take(act, turn)
	case u.Angry:
		turn.Intent, turn.Confidence = Complaint, sureOfAnger
		handOver(c, turn, HandOver{ReasonAngry, Urgent}, sayAngry)
	case u.Intent == Person:
		handOver(c, turn, HandOver{ReasonAsked, High}, sayPerson)
	case u.Intent == CancelOrder:
		handOver(c, turn, HandOver{ReasonCancelOrder, High}, sayCancelOrder)
	case act.Media && act.Text == "":
		turn.Intent, turn.Confidence = File, 1
		turn.Replies = append(turn.Replies, say(sayMedia))
	case c.Run.Active():
		c.hearStep(u, act, turn)
	case c.LastIntent == Troubleshooting && (u.Intent == Unknown || u.Intent == Troubleshooting || u.Intent == Help) && saysNo(act.Text):
		turn.Intent, turn.Confidence = Troubleshooting, max(u.Confidence, threshold)
		handOver(c, turn, HandOver{ReasonNotHelped, Normal}, sayNotHelped)
	case u.Intent == Unknown && c.Misunderstood+1 >= Misunderstandings:
		handOver(c, turn, HandOver{ReasonNotUnderstood, Normal}, sayNotUnderstoodTwice)
	case u.Intent == Unknown:
		turn.Replies = append(turn.Replies, say(sayNotUnderstood))
	case u.Intent == OrderStatus && u.Order != "":
		turn.Lookup = u.Order
	case u.Intent == ChangeAddress:
		c.startAddressChange(act, turn)
	default:
		turn.Replies = append(turn.Replies, answer(u, act.Text))
	}
}

// handOver ends what is running and says who comes.
func handOver(c Context, turn *Turn, why HandOver, words string) {
	if c.Run.Active() {
		turn.Moves = append(turn.Moves, c.Run.to(HandedOver))
	}
	turn.HandOver = why
	turn.Replies = append(turn.Replies, say(words))
}

// press handles a button. Buttons outlive their step: an old one says so.
func press(c Context, act Act, turn *Turn) {
	turn.Intent, turn.Confidence = Pressed, 1
	if !c.Run.Active() || !c.pressStep(act, turn) {
		turn.Toast = toastOld
	}
}

// edit handles a corrected message: only one that a running step was built on matters.
func edit(c Context, act Act, turn *Turn) {
	turn.Intent, turn.Confidence = Corrected, 1
	if c.Run.Active() && act.MessageID == c.Run.Source {
		c.take(act, turn)
	}
}

func say(text string, buttons ...Button) Reply { return Reply{Text: text, Buttons: buttons} }

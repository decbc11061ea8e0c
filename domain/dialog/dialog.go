// Package dialog decides what the bot says: intents, workflows and answers, as
// pure functions of what a team wrote for its bot, of what is known of the
// conversation, and of what the customer just did. It knows nothing of events, stores
// or Telegram.
package dialog

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// Context is what the dialogue knows of a conversation when the customer acts.
type Context struct {
	Knowledge     *Knowledge        // nil knows nothing but the bot's own words
	Tools         map[string]bool   // that this bot has, by name
	Model         bool              // there is one to ask (see LLM)
	Language      Language          // of the conversation so far; "" at its beginning
	Prefers       Language          // of the customer's app
	Run           Run               // the running workflow; the zero Run when there is none
	Misunderstood int               // messages in a row that nothing was made of
	Recent        []string          // the words of the customer's last messages, oldest first
	Before        string            // what the edited message said when it was answered; "" when that is forgotten
	Last          Intent            // what was wanted last
	Customer      map[string]string // what the CRM knows of them; name is that of the app otherwise
}

// Act is what the customer did: wrote, edited a message, or pressed a button.
type Act struct {
	Text      string // of a message, or of the edited message
	Edited    bool   // Text is the new text of message MessageID
	Late      bool   // newer messages were answered before it: it must not move a workflow
	Button    string // callback data; empty unless a button was pressed
	MessageID int64
	Media     bool  // the message carries more than text
	By        int64 // who it was
	At        time.Time
}

// Turn is what the bot does about one act, in this order.
type Turn struct {
	Intent     Intent
	Confidence float64
	Language   Language
	Moves      []Move     // of workflows
	Offer      Offer      // that the customer was made; zero when none was
	TakeUp     TakeUp     // that the customer was offered; zero when it was not
	Reminded   bool       // the customer was reminded of a workflow
	Call       ToolCall   // the tool that the workflow waits for; zero when it waits for none
	Asides     []ToolCall // tools that answer questions in passing
	Think      bool       // a model is asked, whose answer comes later
	About      Act        // what it is asked about
	HandOver   HandOver   // to a person; zero when the bot goes on alone
	Toast      string     // answer to a pressed button
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

// ToolCall is a tool to use, with what goes into it.
type ToolCall struct {
	Tool  string
	Input map[string]string
	About *Question // what the answer is for, when no running workflow waits for it
}

// Question is a brief workflow that needed nothing but a tool: the customer has said all
// there is to ask for. It is answered in passing, whatever else is going on.
type Question struct {
	Workflow string            `json:"workflow"`
	Step     Step              `json:"step"` // that the answer comes to
	Data     map[string]string `json:"data,omitempty"`
}

// Offer is to do something else first. Text is what the customer wrote, which may be
// an answer after all; "" when a button said it.
type Offer struct {
	Intent    Intent `json:"intent"`
	Text      string `json:"text,omitempty"`
	MessageID int64  `json:"message_id,omitempty"`
	Number    int    `json:"number,omitempty"` // tells it from earlier offers since the run last moved
}

// TakeUp is how a workflow that has expired would go on: at this step, with what the
// customer wrote as the answer to it.
type TakeUp struct {
	Step      Step   `json:"step"`
	Text      string `json:"text"`
	MessageID int64  `json:"message_id"`
	Number    int    `json:"number,omitempty"` // tells it from earlier offers of the same run
}

// HandOver says that a person is needed, why, and how much it hurries.
type HandOver struct {
	Reason   string
	Priority Priority
}

// Reasons for a hand-over that are not a team's own.
const (
	ReasonAsked         = "asked"
	ReasonNotUnderstood = "not_understood"
	ReasonToolFailed    = "tool_failed"
	ReasonLost          = "workflow_gone" // the knowledge has changed under a run, or leads in circles
)

// talk is one turn in the making.
type talk struct {
	Context
	act  Act
	turn Turn
	seen string // what the customer wrote to begin a workflow, which may answer its first steps
	hops int

	later  bool     // the workflow that begins is set aside at once
	orders []string // that the wish which is served names; nil when they are those of the text
}

func begin(c Context, act Act) *talk {
	if c.Knowledge == nil {
		c.Knowledge = &Bare
	}
	t := &talk{Context: c, act: act}
	if t.Language == "" {
		t.Language = t.Knowledge.Speaks(t.Prefers)
	}
	return t
}

func (t *talk) done() Turn {
	t.turn.Language, t.turn.Toast = t.Language, Toast(t.turn.Toast)
	return t.turn
}

// Take decides the bot's turn. Order matters: an outdated workflow ends first; an
// address is an address to the step that asked for one, whatever words it is made
// of; a rule that fetches a person wins over a running step; and only what no step
// claims is looked at as a fresh question.
func Take(c Context, act Act) Turn {
	t := begin(c, act)
	if t.expired() {
		t.expire(act.Button == "" && !act.Edited)
	}
	switch {
	case act.Button != "":
		t.press()
	case act.Edited:
		t.edit()
	default:
		t.hear()
	}
	return t.done()
}

// hear answers a new message.
func (t *talk) hear() {
	u := t.Knowledge.Understand(t.act.Text, t.Language)
	if !t.namesPlace(u) {
		t.Language = u.Language
	}
	t.turn.Intent, t.turn.Confidence = u.Intent, u.Confidence
	if t.act.Late && t.Run.Active() {
		t.hearLate(u)
		return
	}
	if def, value, ok := t.plainAnswer(); ok {
		t.claims()
		t.answer(def, value, "")
		return
	}
	if t.addressAndWish() {
		return
	}
	if t.decideTakeUp(u) {
		return
	}
	if t.answersLapsed(u) {
		t.claims()
		t.offerTakeUp()
		return
	}
	if rule, needed := t.needsPerson(u); needed {
		t.handOver(HandOver{rule.Name, rule.Priority}, cmp.Or(t.text(rule.Say), t.word(WordPerson)))
		return
	}
	switch {
	case t.act.Media && strings.TrimSpace(t.act.Text) == "":
		t.turn.Intent, t.turn.Confidence = File, 1
		if t.Run.Active() {
			t.prompt(t.word(WordMedia)) // the question stands
		} else {
			t.say(t.word(WordMedia))
		}
	case t.Run.Active():
		t.hearStep(u)
	default:
		t.serve(t.wishes(u))
	}
}

// hearLate answers a message that was overtaken by others while a workflow runs: it can still
// hand over to an operator; otherwise the step asks again, and stays where it is.
func (t *talk) hearLate(u Understanding) {
	if rule, needed := t.needsPerson(u); needed {
		t.handOver(HandOver{rule.Name, rule.Priority}, cmp.Or(t.text(rule.Say), t.word(WordPerson)))
		return
	}
	if topic := t.Knowledge.Topics[u.Intent]; topic.HandOver.Reason != "" && u.Confidence >= t.Knowledge.Plain {
		t.handOver(topic.HandOver, cmp.Or(t.text(topic.Say), t.word(WordPerson)))
		return
	}
	t.where()
}

// wish answers a message that stands for itself.
func (t *talk) wish(u Understanding) {
	topic, known := t.Knowledge.Topics[u.Intent]
	yesOrNo := u.Intent == Unknown && t.saysYesOrNo() // to nothing that was asked; a model may know better
	if yesOrNo {
		t.claims()
	}
	switch {
	case known && topic.HandOver.Reason != "":
		t.handOver(topic.HandOver, cmp.Or(t.text(topic.Say), t.word(WordPerson)))
	case known && topic.Workflow != "":
		t.start(topic)
	case t.thinks(u, topic):
		t.turn.Think, t.turn.About = true, t.act
		if t.act.Text == "" { // a topic's button is as good as words
			t.turn.About.Text = string(u.Intent)
		}
	case known && len(topic.Answers) > 0:
		t.reply(t.answerTo(topic, u))
	case u.Intent == Start:
		t.say(t.word(WordWelcome))
	case u.Intent == Help:
		t.say(t.word(WordHelp))
	case u.Intent == Cancel || u.Intent == Back:
		t.say(t.word(WordNothingToCancel))
	case u.Intent == Unknown && t.mayAnswerLapsed():
		t.offerTakeUp()
	case yesOrNo:
		t.say(t.word(WordNothingToCancel))
	default:
		t.say(t.word(WordNotUnderstood))
	}
}

// thinks reports whether a model is to answer.
func (t *talk) thinks(u Understanding, topic Topic) bool {
	if !t.Model {
		return false
	}
	switch t.Knowledge.LLM.Use {
	case LLMUnknown:
		return u.Intent == Unknown
	case LLMAlways:
		return command(t.act.Text) == "" && !topic.Courtesy && u.Intent != Cancel && u.Intent != Back
	default:
		return false
	}
}

// answerTo is what a topic says to this message.
func (t *talk) answerTo(topic Topic, u Understanding) Reply {
	for _, a := range topic.Answers {
		if len(a.Words) > 0 && !beginsAny(u.words, a.Words) {
			continue
		}
		reply := Reply{Text: t.text(a.Text)}
		for _, b := range a.Buttons {
			reply.Buttons = append(reply.Buttons, Button{t.text(b.Label), topicButton + string(b.Intent)})
		}
		return reply
	}
	return Reply{Text: t.word(WordNotUnderstood)}
}

// beginsAny reports whether a word, or a row of words, begins with one of these.
func beginsAny(words string, beginnings []string) bool {
	for _, b := range beginnings {
		if strings.Contains(words, " "+b) {
			return true
		}
	}
	return false
}

// handOver ends what is running and says who comes. It hurries at least as much as the
// customer's tier does.
func (t *talk) handOver(why HandOver, words string) {
	if t.Run.Active() {
		t.move(Move{To: HandedOver})
	}
	if least := t.Knowledge.Tiers[t.Customer["tier"]]; least.Above(why.Priority) {
		why.Priority = least
	}
	if !why.Priority.Valid() {
		why.Priority = Normal
	}
	t.turn.HandOver = why
	t.say(words)
}

// Callback data: a step's buttons bear the number of the move they were shown at, so
// that one of today is told from an old one. A topic's are as good as words.
const (
	stepButton  = "w:"
	topicButton = "i:"
)

// stepData is the callback data of a button of the step where the run stands.
func (t *talk) stepData(value string) string {
	return stepButton + strconv.Itoa(t.Run.Asked) + ":" + value
}

// press handles a button. Buttons outlive their step: an old one says so.
func (t *talk) press() {
	t.turn.Intent, t.turn.Confidence = Pressed, 1
	if intent, ok := strings.CutPrefix(t.act.Button, topicButton); ok && t.Knowledge.Topics[Intent(intent)].known() {
		t.turn.Toast = t.word(ToastOK)
		t.turn.Intent = Intent(intent)
		u := Understanding{Intent: Intent(intent), Confidence: 1, Language: t.Language}
		if t.Run.Active() {
			t.other(u)
		} else {
			t.wish(u)
		}
		return
	}
	data, ok := strings.CutPrefix(t.act.Button, stepButton)
	number, value, _ := strings.Cut(data, ":")
	if !ok || number != strconv.Itoa(t.Run.Asked) || !t.pressTakeUp(value) && !(t.Run.Active() && t.pressStep(value)) {
		t.turn.Toast = t.word(ToastOld)
	}
}

// known reports whether there is anything to do about a topic.
func (t Topic) known() bool {
	return len(t.Answers) > 0 || t.Workflow != "" || t.HandOver.Reason != ""
}

// edit handles a corrected message. If a running workflow was built on it, or the last that was
// completed, the step it answered is looked at anew, and all that hang on it. Any other is answered
// again if it wants something else now.
func (t *talk) edit() {
	t.turn.Intent, t.turn.Confidence = Corrected, 1
	def := t.answered(t.act.MessageID)
	if def == nil {
		if !t.redo() {
			t.hearAgain()
		}
		return
	}
	if t.Run.Writing {
		t.where()
		return
	}
	value, problem := def.Ask.read(t, t.act.Text)
	if problem == "" && value == t.Run.Data[def.Ask.Field] && t.Run.Calling != "" {
		t.where() // it is being looked at as it is
		return
	}
	t.answer(def, value, problem)
}

func (t *talk) say(text string, buttons ...Button) { t.reply(Reply{Text: text, Buttons: buttons}) }

func (t *talk) reply(r Reply) {
	if r.Text = strings.TrimSpace(r.Text); r.Text != "" {
		t.turn.Replies = append(t.turn.Replies, r)
	}
}

// text is a text in the language of the conversation, with what is known put in.
func (t *talk) text(text Text, more ...map[string]string) string {
	return fill(text.in(t.Knowledge, t.Language), append(more, t.Run.Data, t.variables())...)
}

// word is one of the bot's own words.
func (t *talk) word(w Word, more ...map[string]string) string {
	text := cmp.Or(t.Knowledge.Words[w].in(t.Knowledge, t.Language), plain[w])
	return fill(text, append(more, t.variables())...)
}

// variables are those that every text may hold.
func (t *talk) variables() map[string]string {
	title := ""
	if def := t.workflow(); def != nil {
		title = def.Title.in(t.Knowledge, t.Language)
	}
	return map[string]string{"customer": t.Customer["name"], "title": title}
}

// Bare is the knowledge of a bot that was told nothing.
var Bare = Knowledge{Threshold: 1, Plain: 1, Rules: []Rule{{Name: ReasonNotUnderstood, Unsure: 2, Priority: Normal}}}

package chat

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/llm"
)

// The language model is called by a delivery, like any other system. Its input, answer and cost
// are events, so that a replay does not call it again. The decisions are in exchange.go.

// Model is the author of what a model said, under its name.
const Model AuthorKind = "model"

// ModelAsked: a model must be asked; the delivery with this event's id asks it.
type ModelAsked struct {
	Answer
	Ask      int           `json:"ask"`   // number of this question in the chat
	Round    int           `json:"round"` // of the exchange about the customer's message, from 1
	Model    string        `json:"model"`
	Messages []llm.Message `json:"messages"`
	Tools    []string      `json:"tools,omitempty"`
	Tokens   int           `json:"tokens"`            // that are left of the exchange's budget
	By       int64         `json:"by,omitempty"`      // Telegram's id of who is answered
	Message  int64         `json:"message,omitempty"` // id of their message
	Until    time.Time     `json:"until"`             // later the answer is of no use
}

// ModelAnswered: the model answered, or could not be asked. Its words are not the
// customer's before they are a ReplyQueued.
type ModelAnswered struct {
	Delivery  uuid.UUID  `json:"delivery"`
	Ask       int        `json:"ask"`
	Text      string     `json:"text,omitempty"`
	Calls     []llm.Call `json:"calls,omitempty"` // of tools; a Problem says why one is not used
	TokensIn  int        `json:"tokens_in"`
	TokensOut int        `json:"tokens_out"`
	Cost      int64      `json:"cost_micros"` // in millionths of what prices are in
	Took      int64      `json:"took_ms"`
	Reason    string     `json:"reason,omitempty"`   // why it could not be asked
	Spent     bool       `json:"spent,omitempty"`    // it was not asked: the bot's budget of the day is used up
	Blocked   string     `json:"blocked,omitempty"`  // why its words are held back
	Outdated  bool       `json:"outdated,omitempty"` // nobody waits for it any more, or the customer has written more
}

// ExchangeJoined: what the customer wrote while a model was busy with their last message
// is answered together with that.
type ExchangeJoined struct {
	Answer
	Text    string    `json:"text"`
	By      int64     `json:"by,omitempty"`
	Message int64     `json:"message,omitempty"`
	Until   time.Time `json:"until"`
}

// ExchangeEnded: the exchange with the model is over without an answer.
type ExchangeEnded struct {
	Answer
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Reasons for which an exchange ends that need no person.
const (
	EndedCancelled = "cancelled"
	EndedExpired   = "expired" // nobody pressed the button
	EndedMoved     = "moved"   // the button is in a chat that goes on elsewhere
)

// AttackRefused: a message tried to direct the model. It was not put to it.
type AttackRefused struct {
	Answer
	Kind string `json:"kind"`
}

// ConfirmationAsked: the model wants something changed, and the customer was shown what,
// with a button.
type ConfirmationAsked struct {
	Answer
	Number int       `json:"number"` // of this confirmation in the chat
	Call   llm.Call  `json:"call"`
	At     time.Time `json:"at"`
}

// ToolConfirmed: the customer pressed one of its buttons.
type ToolConfirmed struct {
	Answer
	Number int       `json:"number"`
	Yes    bool      `json:"yes"`
	By     int64     `json:"by"`
	Until  time.Time `json:"until"`
}

// RecordModel brings what came of a ModelAsked. Reason is set when it could not be asked.
type RecordModel struct {
	Delivery  uuid.UUID
	Ask       int
	Text      string
	Calls     []llm.Call
	TokensIn  int
	TokensOut int
	Cost      int64
	Took      time.Duration
	Reason    string
	Spent     bool // the bot's budget of the day is used up
	At        time.Time
}

func (RecordModel) command() {}

// Reasoning is what is remembered of a chat that a model has been asked in.
type Reasoning struct {
	Asks          int // questions so far
	Confirmations int // asked for so far
	Memory        llm.Memory
	Exchange      *Exchange // under way; nil when there is none
}

// Exchange is a model's work on what a customer wrote. It waits for one thing at a time:
// for an answer, for tools, or for the customer's button.
type Exchange struct {
	To        domain.Version // the message that is answered
	By        int64
	MessageID int64
	Ask       int // the question under way; 0 when there is none
	Round     int
	Messages  []llm.Message
	Later     []llm.Message // of the customer, since the question: at most laterMax
	Calls     []Pending     // that the model wanted last
	Confirm   Confirmation
	Tokens    int // so far
	Until     time.Time
}

// Pending is a tool that the model wants used. It is done when there is an output or a
// problem.
type Pending struct {
	llm.Call
	Number int               // of the request; 0 before there is one
	Output map[string]string // not nil once it was used
}

func (p Pending) done() bool { return p.Problem != "" || p.Output != nil }

// Confirmation is what the customer was asked to confirm; the zero one is none.
type Confirmation struct {
	Number int
	Call   string // id
	At     time.Time
}

// laterMax bounds what a customer can add while a model thinks, in messages; who writes
// more has said it all.
const laterMax = 8

// exchange is the one under way; nil when there is none.
func (s State) exchange() *Exchange {
	if s.Reasoning == nil {
		return nil
	}
	return s.Reasoning.Exchange
}

// writing reports whether a tool is changing something at this moment.
func (x *Exchange) writing() bool {
	for _, p := range x.Calls {
		if !p.done() && p.Number != 0 && dialog.Toolbox[p.Tool].Writes {
			return true
		}
	}
	return false
}

// ready reports whether nothing is waited for.
func (x *Exchange) ready() bool {
	for _, p := range x.Calls {
		if !p.done() {
			return false
		}
	}
	return x.Ask == 0 && x.Confirm.Number == 0
}

// uses is the pending call with this number of a request; nil when it is none of this
// exchange.
func (x *Exchange) uses(number int) *Pending {
	if x != nil {
		for i := range x.Calls {
			if x.Calls[i].Number == number && number != 0 && !x.Calls[i].done() {
				return &x.Calls[i]
			}
		}
	}
	return nil
}

// question is all that the model is told next.
func (x *Exchange) question() []llm.Message {
	messages := slices.Clip(x.Messages)
	for _, p := range x.Calls {
		if p.Problem != "" {
			messages = append(messages, llm.NoResult(p.Call, p.Problem))
		} else {
			messages = append(messages, llm.Result(p.Call, p.Output))
		}
	}
	return append(messages, x.Later...)
}

// memory is what the model is to know of the chat: before it was first asked, the last texts.
func (s State) memory() (m llm.Memory) {
	if s.Reasoning != nil {
		return s.Reasoning.Memory
	}
	for _, said := range s.Recent {
		m = m.Hear(llm.Line{Role: llm.Customer, Text: said.Text})
	}
	return m
}

// reason takes an event into what is remembered. s is the state before it. Of a chat in
// which no model was asked nothing is.
func (s State) reason(event domain.Event) *Reasoning {
	if s.Reasoning == nil {
		if _, first := event.(ModelAsked); !first {
			return nil
		}
		s.Reasoning = &Reasoning{Memory: s.memory()}
	}
	r := *s.Reasoning
	r.Memory = remember(r.Memory, event)
	if asked, ok := event.(ModelAsked); ok {
		r.Asks, r.Exchange = asked.Ask, r.Exchange.ask(asked)
		return &r
	}
	if asked, ok := event.(ConfirmationAsked); ok {
		r.Confirmations = asked.Number
	}
	if r.Exchange != nil {
		r.Exchange = r.Exchange.after(event)
	}
	return &r
}

// remember is the memory after an event.
func remember(m llm.Memory, event domain.Event) llm.Memory {
	switch e := event.(type) {
	case MessageReceived:
		if !e.Late && !e.Corrected && !e.From.Bot {
			return m.Hear(llm.Line{Role: llm.Customer, Text: e.Text, MessageID: e.MessageID})
		}
	case MessageEdited:
		if e.Ahead {
			return m.Hear(llm.Line{Role: llm.Customer, Text: e.Text, MessageID: e.MessageID})
		}
	case ReplyQueued:
		text := e.Format.Shown(e.Text)
		if e.Author.Kind == Person && text != "" {
			text = "(a colleague) " + text
		}
		return m.Hear(llm.Line{Role: llm.Model, Text: text})
	case Understood:
		return m.Understand(e.Intent)
	case WorkflowMoved:
		if e.Step.Ended() {
			return m.End(e.Workflow + " " + string(e.Step))
		}
	case TicketResolved:
		return m.End("case " + e.Ticket + " closed by a colleague")
	}
	return m
}

// ask is the exchange as the model is asked.
func (x *Exchange) ask(e ModelAsked) *Exchange {
	next := &Exchange{
		To: e.To, By: e.By, MessageID: e.Message, Ask: e.Ask, Round: e.Round, Messages: e.Messages, Until: e.Until,
	}
	if x != nil && e.Round > 1 {
		next.Tokens = x.Tokens
	}
	return next
}

// after is the exchange after any other event; nil when it is over.
func (x *Exchange) after(event domain.Event) *Exchange {
	next := *x
	next.Calls = slices.Clone(x.Calls)
	switch e := event.(type) {
	case ModelAnswered:
		next.answered(e)
	case ToolRequested:
		if e.For == ForLLM {
			next.requested(e)
		}
	case ToolReturned:
		next.returned(e.Call, e.Output, e.Reason)
	case DeliverySkipped:
		next.skipped(e)
	case ConfirmationAsked:
		next.Confirm = Confirmation{e.Number, e.Call.ID, e.At}
	case ToolConfirmed:
		if !e.Yes {
			return nil
		}
		next.Confirm, next.Until = Confirmation{}, e.Until
	case ExchangeJoined:
		next.joined(e)
	case ReplyQueued:
		if e.Author.Kind == Model {
			return nil
		}
	case ExchangeEnded, TicketOpened, TicketReopened:
		return nil
	case MembershipChanged:
		if e.Blocked {
			return nil
		}
	case DeliveryFailed:
		if e.Blocked {
			return nil
		}
	}
	return &next
}

func (x *Exchange) answered(e ModelAnswered) {
	if x.Ask != e.Ask {
		return
	}
	x.Ask, x.Tokens = 0, x.Tokens+e.TokensIn+e.TokensOut
	if e.Outdated || e.Reason != "" || len(e.Calls) == 0 {
		return
	}
	said := llm.Message{Role: llm.Model, Text: e.Text}
	for _, call := range e.Calls {
		x.Calls = append(x.Calls, Pending{Call: call})
		call.Problem = "" // the model is told by the result
		said.Calls = append(said.Calls, call)
	}
	x.Messages = append(slices.Clip(x.Messages), said)
}

// requested numbers the first call of the tool that has no number.
func (x *Exchange) requested(e ToolRequested) {
	for i, p := range x.Calls {
		if p.Tool == e.Tool && p.Number == 0 && !p.done() {
			x.Calls[i].Number = e.Call
			return
		}
	}
}

func (x *Exchange) returned(call int, output map[string]string, failed string) {
	p := x.uses(call)
	switch {
	case p == nil:
	case failed != "":
		p.Problem = "this is not available now"
	default:
		if p.Output = output; output == nil {
			p.Output = map[string]string{}
		}
	}
}

// skipped fails what an operator will not have done.
func (x *Exchange) skipped(e DeliverySkipped) {
	for i, p := range x.Calls {
		if KindOf(p.Tool) == e.Kind && p.Number != 0 && !p.done() {
			x.Calls[i].Problem = "this is not available now"
			return
		}
	}
	if e.Kind == domain.KindAskModel {
		x.Ask = 0
	}
}

// joined makes the customer's next message part of the exchange. What they were asked to
// confirm is withdrawn: they have something else to say.
func (x *Exchange) joined(e ExchangeJoined) {
	x.To, x.By, x.MessageID, x.Round, x.Tokens, x.Until = e.To, e.By, e.Message, 0, 0, e.Until
	x.Later = domain.KeepLast(x.Later, llm.Message{Role: llm.Customer, Text: e.Text}, laterMax)
	for i, p := range x.Calls {
		if p.ID == x.Confirm.Call && x.Confirm.Number != 0 {
			x.Calls[i].Problem = "the customer did not confirm it, and wrote this instead"
		}
	}
	x.Confirm = Confirmation{}
}

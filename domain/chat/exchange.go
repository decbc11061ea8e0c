package chat

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/llm"
)

// The story of an exchange: the bot's turn says that a model is to answer; the model is
// asked; it wants tools used, which it is told the results of, until it answers. What
// changes something is used after the customer has pressed a button. What the customer
// writes meanwhile joins the exchange: there is one answer to all of it. Where the budget
// ends, the model cannot be asked, or what it says must not be said, a person takes over.

// think has the model answer what the customer wrote.
func (s informed) think(to Answer, about dialog.Act, by int64, at time.Time) []domain.Event {
	if kind := llm.Attack(about.Text); kind != "" {
		return append([]domain.Event{AttackRefused{to, kind}}, s.says(to, dialog.WordRefused)...)
	}
	until := at.Add(s.budget().Within)
	if s.exchange() != nil {
		joined := ExchangeJoined{Answer: to, Text: about.Text, By: by, Message: about.MessageID, Until: until}
		return s.andThen(at, joined)
	}
	briefing := llm.Briefing{Knowledge: s.knowledge(), Language: s.Language, Customer: s.context(Sender{}).Customer,
		Run:  s.Run,
		Text: about.Text, MessageID: about.MessageID, Memory: s.memory()}
	return s.ask(&Exchange{To: to.To, By: by, MessageID: about.MessageID, Messages: briefing.Messages(), Until: until},
		at)
}

// ask asks the model what an exchange has come to, as long as its budget lasts.
func (s informed) ask(x *Exchange, at time.Time) []domain.Event {
	budget, messages := s.budget(), x.question()
	if x.Round >= budget.Rounds || x.Tokens >= budget.Tokens || !at.Before(x.Until) ||
		llm.Size(messages) > llm.MaxPrompt {
		return s.giveUp(Answer{x.To}, dialog.ReasonLLMBudget, dialog.WordFailed, at)
	}
	if s.Model == "" { // there was one, when this began
		return s.giveUp(Answer{x.To}, dialog.ReasonLLMFailed, dialog.WordFailed, at)
	}
	asked := ModelAsked{Answer: Answer{x.To}, Ask: 1, Round: x.Round + 1, Model: s.Model, Messages: messages,
		Tools:  s.offered(),
		Tokens: budget.Tokens - x.Tokens, By: x.By, Message: x.MessageID, Until: x.Until}
	if s.Reasoning != nil {
		asked.Ask = s.Reasoning.Asks + 1
	}
	return []domain.Event{asked}
}

func (s informed) budget() dialog.LLM { return llm.Budget(s.knowledge().LLM) }

// offered are the tools that the bot has.
func (s informed) offered() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(s.Tools)) {
		if s.Tools[name] {
			names = append(names, name)
		}
	}
	return names
}

// andThen is what follows these events in the exchange: the next question, when nothing
// is waited for any more.
func (s informed) andThen(at time.Time, events ...domain.Event) []domain.Event {
	for _, event := range events {
		s.State = Evolve(s.State, event)
	}
	if x := s.exchange(); x != nil && x.ready() {
		events = append(events, s.ask(x, at)...)
	}
	return events
}

// giveUp ends the exchange and fetches a person.
func (s informed) giveUp(to Answer, reason string, words dialog.Word, at time.Time) []domain.Event {
	turn := dialog.Fetch(s.context(Sender{}), dialog.HandOver{Reason: reason, Priority: dialog.Normal}, words,
		dialog.Act{At: at})
	return append([]domain.Event{ExchangeEnded{to, reason, at}}, s.does(to, turn, 0, at)...)
}

// says is one of the bot's own words.
func (s informed) says(to Answer, word dialog.Word) []domain.Event {
	return s.reply(to, dialog.Reply{Text: s.context(Sender{}).Say(word, nil)})
}

// recordModel takes in what a model answered, if that is waited for still: a person may
// have taken over, or the customer have blocked the bot or cancelled.
func recordModel(s informed, c RecordModel) []domain.Event {
	answered := ModelAnswered{Delivery: c.Delivery, Ask: c.Ask, Text: c.Text, Calls: named(c.Calls),
		TokensIn: c.TokensIn, TokensOut: c.TokensOut,
		Cost: c.Cost, Took: c.Took.Milliseconds(), Reason: c.Reason, Spent: c.Spent}
	x := s.exchange()
	if x == nil || x.Ask != c.Ask {
		answered.Outdated = true
		return []domain.Event{answered}
	}
	to := Answer{x.To}
	switch {
	case c.Reason != "":
		reason := dialog.ReasonLLMFailed
		if c.Spent || !c.At.Before(x.Until) {
			reason = dialog.ReasonLLMBudget
		}
		return append([]domain.Event{answered}, s.giveUp(to, reason, dialog.WordFailed, c.At)...)
	case len(x.Later) > 0:
		answered.Outdated = true
		return s.andThen(c.At, answered)
	case slices.ContainsFunc(c.Calls, func(call llm.Call) bool { return call.Tool == llm.HandOver }):
		return append([]domain.Event{answered}, s.giveUp(to, dialog.ReasonLLMAsked, dialog.WordPerson, c.At)...)
	case len(c.Calls) > 0:
		return s.use(to, answered, c.At)
	}
	if answered.Blocked = llm.Guard(x.Messages, c.Text, s.knowledge(), s.Language); answered.Blocked != "" {
		return append([]domain.Event{answered},
			s.giveUp(to, dialog.ReasonLLMBlocked+answered.Blocked, dialog.WordFailed, c.At)...)
	}
	reply := ReplyQueued{Answer: to, Author: Author{Kind: Model, Name: s.Model}}
	return append([]domain.Event{answered}, s.queue(reply, dialog.Split(strings.TrimSpace(c.Text), dialog.MaxText))...)
}

// maxCallID is longer than the ids of calls that are seen, in bytes.
const maxCallID = 64

// named gives calls that have no proper id one of ours: results are told apart by them.
func named(calls []llm.Call) []llm.Call {
	calls = slices.Clone(calls)
	seen := map[string]bool{}
	for i := range calls {
		if id := calls[i].ID; id == "" || seen[id] || len(id) > maxCallID {
			calls[i].ID = "call" + strconv.Itoa(i)
		}
		seen[calls[i].ID] = true
	}
	return calls
}

// use has the tools used that the model wants: one that changes something is put to the
// customer first, and goes alone. Of what is not used the model is told why.
func (s informed) use(to Answer, answered ModelAnswered, at time.Time) []domain.Event {
	var reads []dialog.ToolCall
	var writes *llm.Call
	for i := range answered.Calls {
		call := &answered.Calls[i]
		read, err := call.Read(s.Tools)
		changes := dialog.Toolbox[call.Tool].Writes
		switch {
		case err != nil:
			call.Problem = err.Error()
		case i >= llm.MaxCalls || changes && (writes != nil || len(reads) > 0) || writes != nil:
			call.Problem = "this is too much at once: ask for it again by itself"
		case changes && s.MovedTo != 0:
			call.Problem = "this can't be changed here; call " + llm.HandOver
		case changes:
			call.Input, writes = read.Input, call
		default:
			call.Input = read.Input
			reads = append(reads, read)
		}
	}
	events := []domain.Event{answered}
	if writes != nil {
		asked := ConfirmationAsked{to, s.Reasoning.Confirmations + 1, *writes, at}
		return append(append(events, asked), s.prompt(to, asked)...)
	}
	for _, call := range reads {
		request := s.request(to, ForLLM, call, s.exchange().By)
		request.Call += len(events) - 1
		events = append(events, request)
	}
	return s.andThen(at, events...)
}

// Callback data of the buttons that confirm what a model wants changed: they bear the
// number of the confirmation, so that an old one is told from today's.
const (
	confirmButton = "c:"
	confirmYes    = "yes"
	confirmNo     = "no"
)

// prompt shows the customer what would be changed.
func (s informed) prompt(to Answer, asked ConfirmationAsked) []domain.Event {
	c := s.context(Sender{})
	action := c.Action(dialog.ToolCall{Tool: asked.Call.Tool, Input: asked.Call.Input})
	data := confirmButton + strconv.Itoa(asked.Number) + ":"
	return s.reply(to, dialog.Reply{Text: c.Say(dialog.WordConfirmTool, map[string]string{"action": action}),
		Buttons: []dialog.Button{
			{Text: c.Say(dialog.LabelYes, nil), Data: data + confirmYes}, {
				Text: c.Say(dialog.LabelCancel, nil), Data: data + confirmNo,
			},
		}})
}

// confirm takes a pressed button of a confirmation. One of an earlier confirmation, or of
// somebody else's, says so and does nothing.
func (s informed) confirm(c Respond, e ButtonPressed) []domain.Event {
	to, x := Answer{c.To}, s.exchange()
	understood := Understood{Answer: to, Intent: dialog.Pressed, Confidence: 1, Knowledge: s.knowledge().Hash}
	number, value, _ := strings.Cut(strings.TrimPrefix(e.Data, confirmButton), ":")
	toast := func(w dialog.Word) domain.Event {
		return ButtonAnswered{to, e.QueryID, dialog.Toast(s.context(e.From).Say(w, nil))}
	}
	stale := x == nil || x.Confirm.Number == 0 || strconv.Itoa(x.Confirm.Number) != number || x.By != e.From.ID ||
		!e.Date.Before(x.Confirm.At.Add(dialog.DefaultIdle))
	switch {
	case stale || value != confirmYes && value != confirmNo:
		return []domain.Event{understood, toast(dialog.ToastOld)}
	case value == confirmNo:
		return append([]domain.Event{
			understood, toast(dialog.ToastCancelled), ToolConfirmed{
				Answer: to, Number: x.Confirm.Number, By: e.From.ID, Until: c.At,
			},
		},
			s.says(to, dialog.WordCancelled)...)
	}
	confirmed := ToolConfirmed{
		Answer: to, Number: x.Confirm.Number, Yes: true, By: e.From.ID, Until: c.At.Add(s.budget().Within),
	}
	i := slices.IndexFunc(x.Calls, func(p Pending) bool { return p.ID == x.Confirm.Call })
	call := dialog.ToolCall{Tool: x.Calls[i].Tool, Input: x.Calls[i].Input}
	return []domain.Event{understood, toast(dialog.ToastOK), confirmed, s.request(to, ForLLM, call, e.From.ID)}
}

// meanwhile changes a turn for what an exchange waits for: words for its button are shown
// the button again, or take it away; a correction of the message that is answered joins
// it; and what is under way can be cancelled until it changes something.
func (s informed) meanwhile(c Respond, act dialog.Act, turn dialog.Turn) (dialog.Turn, []domain.Event) {
	x := s.exchange()
	if x == nil || act.Button != "" || len(turn.Moves) > 0 || s.Run.Active() {
		return turn, nil
	}
	to, pending := Answer{c.To}, x.Confirm.Number != 0
	switch {
	case act.Edited && act.MessageID == x.MessageID && act.Text != "":
		turn.Think, turn.About = true, act
		return turn, nil
	case act.Edited:
		return turn, nil
	case turn.Intent == dialog.Cancel && x.writing():
		turn.Replies = []dialog.Reply{{Text: s.context(Sender{}).Say(dialog.WordWaiting, nil)}}
		return turn, nil
	case turn.Intent == dialog.Cancel, pending && s.knowledge().Means(dialog.PhraseNo, act.Text):
		turn.Replies, turn.Think = []dialog.Reply{{Text: s.context(Sender{}).Say(dialog.WordCancelled, nil)}}, false
		turn.Intent, turn.Confidence = dialog.Cancel, 1
		return turn, []domain.Event{ExchangeEnded{to, EndedCancelled, c.At}}
	case pending && s.knowledge().Means(dialog.PhraseYes, act.Text):
		i := slices.IndexFunc(x.Calls, func(p Pending) bool { return p.ID == x.Confirm.Call })
		turn = dialog.Turn{Intent: dialog.Answered, Confidence: 1, Language: turn.Language}
		return turn, s.prompt(to, ConfirmationAsked{Number: x.Confirm.Number, Call: x.Calls[i].Call})
	}
	return turn, nil
}

// toolForModel takes in what a tool returned that the model wanted.
func (s informed) toolForModel(returned ToolReturned, at time.Time) []domain.Event {
	p := s.exchange().uses(returned.Call)
	if p == nil {
		return []domain.Event{returned}
	}
	to := Answer{s.exchange().To}
	if p.Number != 0 && dialog.Toolbox[p.Tool].Writes && returned.Reason != "" {
		return append([]domain.Event{returned}, s.giveUp(to, dialog.ReasonLLMTool, dialog.WordFailed, at)...)
	}
	for _, value := range returned.Output {
		if llm.Attack(value) != "" {
			return append([]domain.Event{returned},
				s.giveUp(to, dialog.ReasonLLMBlocked+llm.BlockedTool, dialog.WordFailed, at)...)
		}
	}
	return s.andThen(at, returned)
}

// skippedForModel goes on without what an operator will not have done.
func (s informed) skippedForModel(skipped DeliverySkipped, at time.Time) []domain.Event {
	x := s.exchange()
	if x == nil {
		return []domain.Event{skipped}
	}
	if skipped.Kind == domain.KindAskModel && x.Ask != 0 {
		return append([]domain.Event{skipped},
			s.giveUp(Answer{x.To}, dialog.ReasonLLMFailed, dialog.WordFailed, at)...)
	}
	return s.andThen(at, skipped)
}

// wakeExchange is when time ends an exchange; zero is never. What changes something is
// waited for as long as it takes.
func (s State) wakeExchange() time.Time {
	x := s.exchange()
	switch {
	case x == nil || x.writing():
		return time.Time{}
	case x.Confirm.Number != 0:
		return x.Confirm.At.Add(dialog.DefaultIdle)
	default:
		return x.Until.Add(askGrace)
	}
}

// askGrace is how much longer than its budget an exchange is waited for: the sender that
// asks the model gives up by itself, and reports why.
const askGrace = 5 * time.Second

// endExchange does what is due: a button that nobody presses is forgotten, and who waits
// for an answer that does not come gets a person.
func (s informed) endExchange(at time.Time) []domain.Event {
	due, x := s.wakeExchange(), s.exchange()
	switch {
	case due.IsZero() || at.Before(due):
		return nil
	case x.Confirm.Number != 0:
		return []domain.Event{ExchangeEnded{Answer{x.To}, EndedExpired, at}}
	default:
		return s.giveUp(Answer{x.To}, dialog.ReasonLLMBudget, dialog.WordFailed, at)
	}
}

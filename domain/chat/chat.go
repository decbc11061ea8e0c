// Package chat is the aggregate: one chat between a customer and a bot, and
// beside it each bot's own stream for updates that belong to no chat.
//
// The story of a chat: updates are received; the bot's turn is decided for each,
// which may move a workflow, queue replies, look an order up, or open a ticket;
// while a ticket is with a person the bot is silent; deliveries come back with
// their outcomes; the person resolves the ticket or hands the chat back.
package chat

import (
	"slices"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Decider is the chat as three pure functions.
var Decider = domain.Decider[State, Command, Settings]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// State is what deciding needs to know of a chat, and no more.
type State struct {
	LastUpdate   int64          // id of the last update that was not late
	LastUpdateAt time.Time      // the latest date that an update had
	Heard        []uint64       // keys of the last updates, oldest first, at most heardMax
	TopMessage   int64          // id of the newest message
	TopMessageAt time.Time      // its date
	Written      []Written      // the last messages received or edited, oldest first, at most writtenMax
	Answerable   []int64        // Unix seconds of the last messages within the limit, at most MaxLimit
	Answered     domain.Version // the bot's turn is decided up to this event
	Thread       int64          // topic the customer last wrote in
	Albums       []Album        // parts of the last albums, oldest first, at most albumsMax
	Unworded     Unworded       // the album that waits for words

	LastIntent    dialog.Intent
	LastText      string          // becomes the subject of a ticket; cut to saidMax
	Recent        []Said          // the last texts, oldest first, at most recentMax; cut to recentCut
	RecentAt      domain.Version  // Answered, when the last of them came
	Language      dialog.Language // that the customer was last answered in
	Customer      string          // name of who last wrote
	Misunderstood int
	ToldTooFast   time.Time // the customer was last told that they write too fast
	Run           dialog.Run
	Calls         int        // tools requested so far
	Awaited       Awaited    // the tool that the workflow waits for
	Known         Known      // what the CRM knows of the customer
	Backlog       Backlog    // messages that wait to be answered all at once
	Reasoning     *Reasoning // of a model; nil while none was asked
	Ticket        Ticket
	Tickets       int        // opened so far
	Agents        Agents     // what agents did at another desk
	Operated      []Operated // the last acts of operators, oldest first, at most operatedKept
	Fence         int64      // of the last claim
	Blocked       bool       // the customer does not want messages from this bot

	MovedTo   int64          // the chat goes on under this id; 0 when it has not moved
	Continued domain.Version // of the chat before, up to which it was followed
}

// heardMax bounds the memory of recent updates, in keys of 8 bytes: repeats come
// within minutes, and what is older is found in the store (see MayRepeat).
const heardMax = 64

// subjectMax bounds the subject of a ticket, in characters: one line in a queue.
const subjectMax = 120

// recentMax and recentCut bound what is remembered to notice that somebody says the same
// thing again: a few messages, of each the first words, in characters.
const (
	recentMax = 4
	recentCut = 160
)

// Awaited is a tool that was requested and has not answered.
type Awaited struct {
	Call   int
	Tool   string
	To     domain.Version // what the request answered
	Step   dialog.Step    // that waits
	Writes bool
	By     int64 // Telegram's id of who asked
}

// Known is a customer as the CRM knows them.
type Known struct {
	Fields map[string]string
	ID     string    // the CRM's
	Asked  time.Time // when it was last requested
}

// Backlog is what waits to be answered together.
type Backlog struct {
	Messages []Waiting      // the last, oldest first, at most backlogMax
	Count    int            // of all
	To       domain.Version // the last one's
	At       time.Time      // when it was come to
}

// backlogMax bounds the messages of a backlog that are remembered; more are counted.
const backlogMax = 10

// MaxLimit is the highest Limit.Count: the times kept for it; a limit of more
// messages per window than this would cost more memory than it protects.
const MaxLimit = 64

// Ticket is the last case of this chat.
type Ticket struct {
	ID       string
	Status   TicketStatus
	Priority dialog.Priority
	Assignee string
	Reason   string
	Subject  string
	Opened   time.Time
	Due      time.Time // a person replies first
	Resolve  time.Time // and has closed the case
	Replied  bool      // a person has
	Breached []DueWhat // what was due and is late
	Desk     string    // the other desk that keeps it, too; "" when none does
	Said     []string  // about it, until it is referred to a desk; at most saidKept
	Lease    Lease     // the last claim; whether it runs is State.Lease's to say
	Tags     []string  // in order, at most MaxTags
}

// TicketStatus says where a ticket stands.
type TicketStatus string

// Statuses of a ticket; the zero status is of a chat that never had one.
const (
	Open       TicketStatus = "open"
	Assigned   TicketStatus = "assigned"
	Resolved   TicketStatus = "resolved"
	BackWithUs TicketStatus = "handed_back"
)

// WithPerson reports whether a person has the chat, or must take it.
func (s State) WithPerson() bool { return s.Ticket.Status == Open || s.Ticket.Status == Assigned }

// Evolve takes one event into the state.
func Evolve(s State, event domain.Event) State {
	s.Reasoning = s.reason(event)
	switch e := event.(type) {
	case MessageReceived:
		s = s.heard(e.Update, e.Date)
		s = s.wrote(e)
		if e.Album != "" {
			s.Albums = domain.KeepLast(s.Albums, Album{e.Album, e.Text != ""}, albumsMax)
		}
		if !e.OverLimit && !e.Continues && !e.Corrected {
			s.Answerable = domain.KeepLast(s.Answerable, e.Date.Unix(), MaxLimit)
		}
		if e.TooFast {
			s.ToldTooFast = e.Date
		}
		if e.Text != "" && !e.Corrected {
			s = s.said(e.MessageID, e.Text)
		}
		if !e.Late && !e.Corrected {
			s = s.about(e)
			s.Blocked = false // who writes has not blocked us; the update that says so comes by another queue
		}
		if !e.From.Bot {
			s.Ticket = s.Ticket.hear(e.transcriptLine())
		}
	case MessageEdited:
		s = s.heard(e.Update, e.EditedAt).edited(e)
		if e.Ahead {
			m := e.message(s.Thread)
			s = s.said(m.MessageID, m.Text).about(m)
			s.Ticket = s.Ticket.hear(m.transcriptLine())
		} else if !e.Late {
			s.Recent = edited(s.Recent, e.MessageID, domain.Shorten(e.Text, recentCut))
		}
	case ButtonPressed:
		s = s.heard(e.Update, e.Date)
	case MembershipChanged:
		s = s.heard(e.Update, e.Date)
		s.Blocked = e.Blocked
	case UpdateKept:
		s = s.heard(e.Update, e.Date)
	case Understood:
		s.Answered = e.To
		s.Run = s.Run.Heard(s.LastUpdateAt)
		s = s.understood(e.Intent, e.Language)
		if e.Waits != nil {
			s.Backlog = s.Backlog.add(*e.Waits, e.To)
		}
		if e.Edited != 0 {
			s.Recent = answered(s.Recent, e.Edited)
		}
		if e.Wordless != nil {
			s.Unworded = Unworded{*e.Wordless, e.To}
		}
	case AlbumTaken:
		s.Unworded = Unworded{}
	case ModelAsked, ExchangeJoined: // who is answered has been understood well enough
		s.Misunderstood = 0
	case BacklogTaken:
		s.Backlog = Backlog{}
		s = s.understood(e.Intent, e.Language)
	case ToolRequested:
		s.Calls = max(s.Calls, e.Call)
		switch e.For {
		case ForWorkflow:
			s.Awaited = Awaited{e.Call, e.Tool, e.To, s.Run.Step, e.Writes, e.Customer}
			s.Run.Calling, s.Run.Writing = e.Tool, e.Writes
		case ForCustomer:
			s.Known.Asked = s.LastUpdateAt
		}
	case ToolReturned:
		switch {
		case e.Call == s.Awaited.Call && e.Tool == s.Awaited.Tool:
			s.Run.Calling, s.Run.Writing = "", false
			if e.Reason == "" || !s.Awaited.Writes { // else a person may yet have it done
				s.Awaited = Awaited{}
			}
		case e.Tool == dialog.LookUpCustomer && e.Reason == "":
			s.Known.Fields, s.Known.ID = e.Output, e.Account
		}
	case WorkflowMoved:
		s.Run = s.Run.Follow(dialog.Move{
			Workflow: e.Workflow, From: e.From, To: e.Step, Set: e.Set, Cleared: e.Cleared, Source: e.Source, By: e.By,
		}, e.At)
		if !s.Awaited.Writes || e.Step != dialog.HandedOver { // what is changed at this moment cannot be called back
			s.Awaited = Awaited{}
		}
	case WorkflowPaused:
		s.Run = s.Run.Follow(dialog.Move{Kind: dialog.Paused, Workflow: e.Workflow, To: e.Step}, e.At)
	case WorkflowResumed:
		s.Run = s.Run.Follow(dialog.Move{Kind: dialog.Resumed, Workflow: e.Workflow, To: e.Step}, e.At)
	case WorkflowReminded:
		s.Run.Reminded = true
	case SwitchOffered:
		s.Run.Offered = e.Offer
	case TakeUpOffered:
		s.Run.TakeUp = e.TakeUp
	case TicketOpened:
		s.Tickets++
		s.Ticket = Ticket{
			ID: e.Ticket, Status: Open, Priority: e.Priority, Reason: e.Reason, Subject: e.Subject, Opened: e.At,
			Due: e.Due, Resolve: e.Resolve,
		}
		if e.Subject != domain.Shorten(s.LastText, subjectMax) { // others have come since
			s.Ticket = s.Ticket.hear(transcriptLine(s.Customer, e.Subject, nil))
		}
		if s.LastText != "" {
			s.Ticket = s.Ticket.hear(transcriptLine(s.Customer, s.LastText, nil))
		}
		s.LastIntent, s.Misunderstood = "", 0
	case TicketAssigned:
		s.Ticket.Status, s.Ticket.Assignee = Assigned, e.Assignee
	case TicketEscalated:
		s.Ticket = s.Ticket.due(e.Due, e.Resolve)
		s.Ticket.Priority = e.Priority
	case TicketResolved:
		s.Ticket.Status, s.Ticket.Said, s.Ticket.Lease = Resolved, nil, Lease{}
	case TicketReopened:
		s.Ticket.Status, s.Ticket.Reason, s.Ticket.Opened, s.Ticket.Replied = Open, e.Reason, e.At, false
		s.Ticket = s.Ticket.due(e.Due, e.Resolve)
		if s.Ticket.Assignee != "" {
			s.Ticket.Status = Assigned
		}
	case HandedBack:
		s.Ticket.Status, s.Ticket.Said, s.Ticket.Lease = BackWithUs, nil, Lease{}
	case TicketReferred:
		s.Ticket.Desk, s.Ticket.Said = e.Desk, nil
	case AgentActed:
		s.Agents = s.Agents.add(e)
	case ReplyQueued:
		if e.Author.Kind == Person {
			s.Ticket = s.Ticket.hear(e.transcriptLine())
			s.Ticket.Replied = true
		}
	case DueBreached:
		s.Ticket.Breached = append(slices.Clip(s.Ticket.Breached), e.What)
	case DeliveryFailed:
		s.Blocked = s.Blocked || e.Blocked
	case ChatMigrated:
		s.MovedTo = e.To
	case ChatContinued:
		s.Continued = e.Version
	default:
		s = s.followOperator(event)
	}
	return s
}

// heard remembers an update.
func (s State) heard(u Update, at time.Time) State {
	s.Heard = domain.KeepLast(s.Heard, u.Key, heardMax)
	if !u.Late {
		s.LastUpdate = u.ID
		s.LastUpdateAt = later(s.LastUpdateAt, at)
	}
	return s
}

// about makes a message the one that is talked about: replies go to its topic, and
// a ticket is named after its text and its sender.
func (s State) about(e MessageReceived) State {
	s.Thread = e.Thread
	if e.Text != "" {
		s.LastText = domain.Shorten(e.Text, saidMax)
	}
	s.Customer = e.From.called()
	return s
}

// understood counts what nothing was made of. A button or a correction is no words: what
// was wanted before still is.
func (s State) understood(intent dialog.Intent, language dialog.Language) State {
	if language != "" {
		s.Language = language
	}
	switch intent {
	case dialog.Pressed, dialog.Corrected, dialog.Waited, dialog.Hasty:
	case dialog.Unknown:
		s.LastIntent = intent
		s.Misunderstood++
	default:
		s.LastIntent, s.Misunderstood = intent, 0
	}
	return s
}

// Said is a text of a customer's. One that came again before the bot had answered anything
// is impatience with the first, and no sign that the answer to it does not help.
type Said struct {
	Text   string
	Again  bool
	ID     int64  // of the message
	Edited string // what the message says now, until the bot has seen to that
}

// said keeps a text.
func (s State) said(id int64, text string) State {
	text = domain.Shorten(text, recentCut)
	again := s.RecentAt == s.Answered && slices.ContainsFunc(s.Recent,
		func(before Said) bool { return before.Text == text })
	s.Recent = domain.KeepLast(s.Recent, Said{Text: text, Again: again, ID: id}, recentMax)
	s.RecentAt = s.Answered
	return s
}

// edited notes what a message says now, if it is remembered.
func edited(list []Said, id int64, text string) []Said {
	i := slices.IndexFunc(list, func(said Said) bool { return said.ID == id })
	if i < 0 {
		return list
	}
	list = slices.Clone(list)
	list[i].Edited = text
	return list
}

// answered takes the new text of a message for the one that the bot has seen to.
func answered(list []Said, id int64) []Said {
	i := slices.IndexFunc(list, func(said Said) bool { return said.ID == id })
	if i < 0 || list[i].Edited == "" {
		return list
	}
	list = slices.Clone(list)
	list[i].Text, list[i].Edited = list[i].Edited, ""
	return list
}

func (b Backlog) add(w Waiting, to domain.Version) Backlog {
	return Backlog{Messages: domain.KeepLast(b.Messages, w, backlogMax), Count: b.Count + 1, To: to, At: w.At}
}

// due sets the times of a ticket anew.
func (t Ticket) due(response, resolution time.Time) Ticket {
	t.Due, t.Resolve, t.Breached = response, resolution, nil
	return t
}

package whatif

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// sandbox is a chat that is decided again, in memory.
type sandbox struct {
	Chat
	Settings
	state chat.State
	last  domain.Recorded                    // how far the recorded chat was put again
	heard map[domain.Version]domain.Recorded // what was received, by its recorded version
	taken map[uuid.UUID]domain.Recorded      // what took a recorded event's place, by its id
	then  world
	out   Outcome
}

// world is what the recorded chat tells of what was around it.
type world struct {
	found map[string]chat.ToolReturned // what tools last answered, by what went into them
	tools map[string]bool              // that were used
	desk  string                       // where tickets were referred to
	said                               // by models
}

func newSandbox(c Chat, s Settings) *sandbox {
	b := &sandbox{Chat: c, Settings: s, state: chat.Decider.Initial(), heard: map[domain.Version]domain.Recorded{},
		taken: map[uuid.UUID]domain.Recorded{},
		then:  world{found: map[string]chat.ToolReturned{}, tools: map[string]bool{}}}
	b.then.said = saidIn(c.History)
	for _, r := range c.History {
		switch e := r.Event.(type) {
		case chat.ToolReturned:
			b.then.found[finding(e.Tool, e.Input)] = e
		case chat.ToolRequested:
			b.then.tools[e.Tool] = true
		case chat.TicketReferred:
			b.then.desk = e.Desk
		}
	}
	return b
}

// adopt takes a decision as it was.
func (b *sandbox) adopt(d decision) {
	for _, r := range d {
		b.append(r)
	}
	if _, received := updateOf(d[0].Event); received {
		b.heard[d[0].Version] = d[0]
	}
}

// again puts what led to a decision once more. The first event that tells it is
// looked for: before it there may be the end of a workflow, which a person's act
// brought about.
func (b *sandbox) again(d decision) error {
	b.last = d[len(d)-1]
	for _, r := range d {
		if _, received := updateOf(r.Event); received {
			b.receive(d)
			return nil
		}
		switch e := r.Event.(type) {
		case chat.OperatorActed, chat.TicketClaimed, chat.ClaimReleased, chat.NoteAdded, chat.TicketTagged,
			chat.TicketPrioritized:
			b.put(operateOf(d), d)
		case chat.WorkflowMoved:
			if e.Step != dialog.Expired {
				continue
			}
			b.put(elapseOf(e.At, r), d)
		case chat.WorkflowReminded:
			b.put(elapseOf(e.At, r), d)
		case chat.DueBreached:
			b.put(elapseOf(e.At, r), d)
		case chat.AlbumTaken:
			b.put(elapseOf(e.At, r), d)
		case chat.BacklogTaken:
			b.put(elapseOf(commandedAt(d), r), d)
		case chat.Understood:
			b.turn(e.To, d)
		case chat.ToolReturned:
			b.settle(e.Delivery, e, d)
		case chat.ModelAnswered:
			b.settle(e.Delivery, e, d)
		case chat.ExchangeEnded:
			b.put(elapseOf(e.At, r), d)
		case chat.TicketFiled:
			b.settle(e.Delivery, e, d)
		case chat.DeliverySucceeded:
			b.settle(e.Delivery, e, d)
		case chat.DeliveryFailed:
			b.settle(e.Delivery, e, d)
		case chat.DeliveryRetried:
			b.follow(e.Delivery, chat.RetryDelivery(e), d)
		case chat.DeliverySkipped:
			asked, _ := b.taken[e.Delivery].Event.(chat.ToolRequested)
			b.follow(e.Delivery,
				chat.SkipDelivery{
					Delivery: e.Delivery, Kind: e.Kind, Was: e.Was, Reason: e.Reason, To: asked.To, About: asked.About,
					At: commandedAt(d),
				}, d)
		case chat.TicketReferred:
			b.follow(r.Causation, chat.ReferTicket{Desk: b.desk()}, d)
		case chat.ReplyQueued:
			b.put(replyOf(d), d)
		case chat.TicketOpened:
			b.put(chat.OpenTicket{Reason: e.Reason, Priority: e.Priority, At: e.At}, d)
		case chat.TicketAssigned:
			b.put(chat.AssignTicket{Assignee: e.Assignee}, d)
		case chat.TicketEscalated:
			b.put(chat.EscalateTicket{Priority: e.Priority, Reason: e.Reason, At: escalatedAt(e, r.OccurredAt)}, d)
		case chat.TicketResolved:
			b.put(chat.ResolveTicket{At: e.At}, d)
		case chat.TicketReopened:
			b.put(chat.ReopenTicket{Reason: e.Reason, At: e.At}, d)
		case chat.HandedBack:
			b.put(chat.HandBack{}, d)
		case chat.AgentActed:
			b.put(chat.RecordAgent{
				ID: e.ID, Ticket: e.Ticket, Desk: e.Desk, Act: e.Act, Agent: e.Agent, Text: e.Text, At: e.At,
			}, d)
		case chat.ChatMigrated:
			b.put(chat.Migrate{To: e.To, At: e.At}, d)
		case chat.ChatContinued:
			b.put(chat.Continue(e), d)
		default:
			return fmt.Errorf("%s version %d: replay cannot determine the command that led to %T", r.Stream, r.Version, e)
		}
		return nil
	}
	return fmt.Errorf("%s version %d: replay cannot determine the command that led to %T alone", d[0].Stream, d[0].Version,
		d[0].Event)
}

// elapseOf is what time brought about, and whether anybody was to hear of it.
func elapseOf(at time.Time, r domain.Recorded) chat.Elapse {
	return chat.Elapse{At: at, Quiet: r.Actor == domain.ActorImport}
}

// receive puts an update again.
func (b *sandbox) receive(then decision) {
	event, elsewhere := b.read(then[0])
	if elsewhere != "" {
		b.out.Inputs++
		b.compare(then, []told{{Received, elsewhere}}, then[0], then[0])
		return
	}
	command := chat.Receive{Event: event, At: then[0].OccurredAt}
	if b.Limit != nil {
		command.Limit = *b.Limit
	} else if was, ok := then[0].Event.(chat.MessageReceived); ok && was.OverLimit {
		command.Limit = chat.Limit{Count: 1, Window: math.MaxInt64} // over it, as then, whatever it was
		// and its window had passed since the customer was last told so
		if was.TooFast {
			command.Limit.Window = was.Date.Sub(b.state.ToldTooFast)
		}
	}
	if now := b.put(command, then); len(now) > 0 {
		b.heard[then[0].Version] = now[0]
	}
}

// read makes an event of an update as it is read today, or says where else the update
// goes today.
func (b *sandbox) read(then domain.Recorded) (event domain.Event, elsewhere string) {
	event = then.Event
	if update := b.Updates[then.Version]; update != nil && b.Translate != nil {
		request, err := b.Translate(update, then.OccurredAt)
		command, ok := request.Command.(chat.Receive)
		switch {
		case err != nil:
			return nil, "not at all: " + err.Error()
		case !ok || request.Stream != then.Stream:
			return nil, fmt.Sprintf("as %T in %s", request.Command, request.Stream)
		}
		event = command.Event
	}
	// By these it was told from repeats. The key cannot be made again: it is of bytes,
	// of which JSONB keeps the meaning only.
	update, _ := updateOf(then.Event)
	return withUpdate(event, chat.Update{ID: update.ID, Key: update.Key}), ""
}

// turn gives the bot its turn about what was received at a recorded version. then is
// what the bot decided; nothing when it was silent.
func (b *sandbox) turn(to domain.Version, then decision) {
	message := b.History[to-1]
	at, place := b.last.OccurredAt, message
	if len(then) > 0 {
		at, place = then[0].OccurredAt, then[0]
	}
	var now []domain.Recorded
	var err error
	if heard, ok := b.heard[to]; ok {
		if request, called := commands.Turn(heard, at); called {
			now, err = b.decide(request.Command, then, at)
		}
	}
	b.compare(then, tell(now, err), place, message)
}

// with is what a decision is taken with. Where the settings leave tools open the bot has
// those that were used, but for one that this decision passed by then.
func (b *sandbox) with(then decision) chat.Settings {
	s := b.With
	if s.Tools != nil {
		return s
	}
	s.Tools = maps.Clone(b.then.tools)
	for _, r := range then {
		if e, moved := r.Event.(chat.WorkflowMoved); moved {
			delete(s.Tools, s.Knowledge.Uses(e.Workflow, e.Step))
		}
	}
	for _, r := range then {
		if e, asked := r.Event.(chat.ToolRequested); asked {
			s.Tools[e.Tool] = true
		}
	}
	if len(b.then.asked) > 0 {
		s = asThen(s, then)
	}
	return s
}

// desk is where tickets are referred to; "" is nowhere.
func (b *sandbox) desk() string {
	if b.Desk != nil {
		return *b.Desk
	}
	return b.then.desk
}

// settle puts what came of what the event with this id asked for, if that is asked
// for today too.
func (b *sandbox) settle(delivery uuid.UUID, recorded domain.Event, then decision) {
	var command chat.Command
	if asked, ok := b.taken[delivery]; ok {
		command = b.outcome(asked, recorded, commandedAt(then))
	}
	b.put(command, then)
}

// follow puts a command that is about the event with this id, if that is there today
// too.
func (b *sandbox) follow(id uuid.UUID, command chat.Command, then decision) {
	if _, ok := b.taken[id]; !ok {
		command = nil
	}
	b.put(command, then)
}

// put puts a command. Nil puts none, and leaves undone what was decided then.
func (b *sandbox) put(command chat.Command, then decision) (now []domain.Recorded) {
	b.out.Inputs++
	var err error
	if command != nil {
		now, err = b.decide(command, then, then[0].OccurredAt)
	}
	b.compare(then, tell(now, err), then[0], then[0])
	return now
}

// decide puts a command, and behind it what follows from events that were not there
// then: a ticket is referred, and what is asked for is done. All else comes when it
// came then.
func (b *sandbox) decide(command chat.Command, then decision, at time.Time) ([]domain.Recorded, error) {
	events, err := chat.Decider.Decide(b.state, command, b.with(then))
	now := b.take(events, then, at)
	for _, r := range now {
		if r.ID != uuid.Nil {
			continue
		}
		var next chat.Command
		if request, opened := commands.Refer(r, b.desk(), at); opened {
			next = request.Command
		} else if _, owed := commands.Enqueue(r); owed {
			next = b.outcome(r, nil, at)
		}
		if next != nil {
			more, _ := b.decide(next, nil, at) // what has happened cannot be refused
			now = append(now, more...)
		}
	}
	return now, err
}

// take adds what is decided to the chat. An event takes the place of the first one of
// its type that is left of what was decided then; others refer to it by that id. One
// that takes none has no id.
func (b *sandbox) take(events []domain.Event, then decision, at time.Time) []domain.Recorded {
	now := make([]domain.Recorded, 0, len(events))
	gone := make([]bool, len(then))
	for _, event := range events {
		r := domain.Recorded{
			Position: b.last.Position, Stream: b.last.Stream, OccurredAt: at, RecordedAt: b.last.RecordedAt,
		}
		for i, was := range then {
			if !gone[i] && reflect.TypeOf(was.Event) == reflect.TypeOf(event) {
				r, gone[i] = was, true
				break
			}
		}
		r.Event = event
		now = append(now, b.append(r))
	}
	return now
}

// append adds an event to the chat as its next.
func (b *sandbox) append(r domain.Recorded) domain.Recorded {
	r.Version = domain.Version(len(b.out.Events) + 1)
	b.out.Events = append(b.out.Events, r)
	b.state = chat.Decider.Evolve(b.state, r.Event)
	if r.ID != uuid.Nil {
		b.taken[r.ID] = r
	}
	return r
}

// updateOf is the update that an event received. Events that received one embed it;
// of others it is false.
func updateOf(event domain.Event) (u chat.Update, received bool) {
	if field := reflect.ValueOf(event).FieldByName("Update"); field.IsValid() {
		u, received = field.Interface().(chat.Update)
	}
	return u, received
}

func withUpdate(event domain.Event, u chat.Update) domain.Event {
	changed := reflect.New(reflect.TypeOf(event)).Elem()
	changed.Set(reflect.ValueOf(event))
	changed.FieldByName("Update").Set(reflect.ValueOf(u))
	return changed.Interface()
}

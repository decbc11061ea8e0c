package chat

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Operators share a queue of chats. An operator who answers a chat claims it first: the claim is
// a lease with a number, the fence, which rises with every new claim of the chat. While it
// lasts, only its holder may answer or decide about the ticket, and an act with an earlier
// fence is refused, however late it comes. A lease that expires needs no event: the next
// act sees it.

// Operate is what somebody of the team does to a chat. An act with the key of an earlier
// one of theirs is that act come again, and leads to nothing.
type Operate struct {
	Key         string  // "" is not remembered
	Fingerprint uint64  // of all that is asked for: tells a repeat from another act under the same key
	Operator    string  // name
	Fence       int64   // of the claim under which they act; 0 is whatever claim they hold
	Force       bool    // another's claim does not hold them back
	Do          Command // one of those below, or of the ticket's
	At          time.Time

	// Lease is for how long a reply to a chat that nobody has claimed claims it; 0 is not.
	Lease time.Duration
	// Forgotten is the Print of an act with this key that the state does not remember any
	// more (see MayHaveActed); nil when there was none.
	Forgotten *uint64
}

// Claim takes the chat for a while, or for longer. A chat that no person has is taken
// over from the bot, with a ticket.
type Claim struct{ For time.Duration }

// Release ends the operator's claim.
type Release struct{}

// CannedReply is a reply that the team has written before, in the customer's language.
type CannedReply struct {
	Name   string
	Values map[string]string // of its variables, beside what is known of the customer
	Words  string            // what it said when it was sent, in a replay
}

// AddNote keeps words about the chat that the customer does not see.
type AddNote struct{ Text string }

// Tag puts tags on the chat's last ticket, and takes others off.
type Tag struct{ Add, Remove []string }

// SetPriority makes the open ticket more urgent, or less. Its times count anew.
type SetPriority struct {
	Priority dialog.Priority
	At       time.Time
}

// Already is an act that had been done by then, in a replay.
type Already struct{ Act OperatorAct }

func (Operate) command()     {}
func (Claim) command()       {}
func (Release) command()     {}
func (CannedReply) command() {}
func (AddNote) command()     {}
func (Tag) command()         {}
func (SetPriority) command() {}
func (Already) command()     {}

// Refusals of operators' acts.
var (
	ErrClaimed   = errors.New("another operator has claimed this chat")
	ErrStale     = errors.New("your claim of this chat has expired or was released: claim the chat again")
	ErrKeyReused = errors.New("this idempotency key was used for another request: use a new key for each request")
	ErrLease     = errors.New("a claim lasts " + MinLease.String() + " to " + MaxLease.String())
	ErrNoCanned  = errors.New("unknown canned reply")
	ErrVariables = errors.New("the canned reply needs values that are missing")
	ErrTag       = errors.New("invalid tag: use 1 to 40 of a-z 0-9 _ -, beginning with a letter or digit")
	ErrTags      = errors.New("too many tags")
)

const (
	// MinLease and MaxLease bound a claim: long enough to write an answer, and short
	// enough that a chat does not wait a day for who has gone home.
	MinLease = 10 * time.Second
	MaxLease = time.Hour
	// MaxNote bounds a note, in characters: a page.
	MaxNote = 4000
	// MaxTags is of one ticket.
	MaxTags = 20
	// operatedKept is how many acts are remembered to recognise one that comes again:
	// who got no answer repeats it within minutes. Older ones are found in the store.
	operatedKept = 64
)

var tag = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)

// Lease is a claim of a ticket.
type Lease struct {
	Operator string
	Fence    int64
	Until    time.Time
}

// Lease is the claim of this chat that runs at a time.
func (s State) Lease(at time.Time) (Lease, bool) {
	return s.Ticket.Lease, s.WithPerson() && at.Before(s.Ticket.Lease.Until)
}

// Operated is an act that was done: what it is recognised by.
type Operated struct {
	Key         uint64 // of its key and its operator
	Fingerprint uint64
}

// operate does an operator's act, once.
func operate(s informed, c Operate) ([]domain.Event, error) {
	done, err := s.operated(c)
	if done || err != nil {
		return nil, err
	}
	events, err := s.act(c)
	if err != nil {
		return nil, err
	}
	if events = s.tellDesk(events); c.Key == "" {
		return events, nil
	}
	acted := OperatorActed{
		Key: c.Key, Fingerprint: c.Fingerprint, Operator: c.Operator, Act: actOfOperator(c.Do), Fence: c.Fence,
		Force: c.Force, At: c.At, Led: len(events),
	}
	if canned, ok := c.Do.(CannedReply); ok {
		acted.Canned = canned.Name
	}
	return append([]domain.Event{acted}, events...), nil
}

// operated reports whether an act was done before.
func (s State) operated(c Operate) (bool, error) {
	before := c.Forgotten
	if i := s.remembers(c); i >= 0 {
		before = &s.Operated[i].Fingerprint
	}
	switch {
	case c.Key == "" || before == nil:
		return false, nil
	case *before != c.Fingerprint:
		return false, ErrKeyReused
	default:
		return true, nil
	}
}

// remembers is the place of the act with this key among those that are remembered; -1
// when it is none of them.
func (s State) remembers(c Operate) int {
	key := keyOf(c.Operator, c.Key)
	return slices.IndexFunc(s.Operated, func(o Operated) bool { return o.Key == key })
}

// MayHaveActed reports whether an act may be one that was done so long ago that the state
// has forgotten its key; only the store can tell then.
func MayHaveForgottenAct(s State, c Operate) bool {
	return c.Key != "" && len(s.Operated) >= operatedKept && s.remembers(c) < 0
}

func keyOf(operator, key string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(operator + "\x00" + key))
	return h.Sum64()
}

// act is what an act leads to here.
func (s informed) act(c Operate) ([]domain.Event, error) {
	switch do := c.Do.(type) {
	case Already:
		return nil, nil
	case AddNote:
		return s.note(c, do)
	case Tag:
		return s.tag(do)
	}
	if err := s.mayDecide(c); err != nil {
		return nil, err
	}
	switch do := c.Do.(type) {
	case Claim:
		return s.claim(c, do)
	case Release:
		if lease, runs := s.Lease(c.At); runs {
			return []domain.Event{ClaimReleased{s.Ticket.ID, lease.Operator, lease.Fence}}, nil
		}
		return nil, nil
	case Reply, CannedReply:
		return s.speak(c)
	case SetPriority:
		return s.setPriority(do)
	default:
		return decide(s, c.Do)
	}
}

// mayDecide refuses what only the holder of the claim may do, to others and to those
// whose claim is over.
func (s State) mayDecide(c Operate) error {
	lease, runs := s.Lease(c.At)
	switch {
	case c.Force:
		return nil
	case runs && lease.Operator != c.Operator:
		return fmt.Errorf("%w: %s, until %s", ErrClaimed, lease.Operator, lease.Until.UTC().Format(time.RFC3339))
	case c.Fence != 0 && !(runs && lease.Fence == c.Fence):
		return ErrStale
	default:
		return nil
	}
}

// claim gives the chat to an operator. Its holder keeps the fence; another operator gets the
// next one, so that acts under an older fence can be recognised.
func (s informed) claim(c Operate, do Claim) (events []domain.Event, err error) {
	if do.For < MinLease || do.For > MaxLease {
		return nil, ErrLease
	}
	if s.MovedTo != 0 {
		return nil, fmt.Errorf("%w: %d", ErrMoved, s.MovedTo)
	}
	ticket := s.Ticket.ID
	if !s.WithPerson() {
		opened := s.open(dialog.HandOver{Reason: ReasonTakenOver, Priority: dialog.Normal}, c.At)
		events, ticket = append(s.endRun(Answer{}, c.At), opened), opened.Ticket
	}
	claimed := TicketClaimed{
		Ticket: ticket, Operator: c.Operator, Fence: s.Fence + 1, At: c.At, Until: c.At.Add(do.For),
	}
	if lease, runs := s.Lease(c.At); runs && lease.Operator == c.Operator {
		claimed.Fence = lease.Fence
	} else if runs {
		claimed.From = lease.Operator
	}
	return append(events, claimed), nil
}

// speak says something to the customer, behind the claim that this takes when nobody has
// one: what the customer answers is then theirs.
func (s informed) speak(c Operate) ([]domain.Event, error) {
	words, err := s.words(c)
	if _, runs := s.Lease(c.At); err != nil || runs || c.Lease == 0 {
		return words, err
	}
	claim, err := s.claim(c, Claim{For: c.Lease})
	if err != nil {
		return nil, err
	}
	return append(claim, words...), nil
}

func (s informed) words(c Operate) ([]domain.Event, error) {
	if canned, ok := c.Do.(CannedReply); ok {
		return s.canned(c, canned)
	}
	reply := c.Do.(Reply)
	reply.Author = Author{Kind: Person, Name: c.Operator}
	return s.replyOf(reply)
}

// ReasonTakenOver is that of a ticket for which no customer asked.
const ReasonTakenOver = "taken_over"

// canned says what the team has written before. What the conversation has collected fills
// its variables, too.
func (s informed) canned(c Operate, do CannedReply) ([]domain.Event, error) {
	by := Author{Kind: Person, Name: c.Operator}
	if do.Words != "" {
		return s.replyOf(Reply{Author: by, Text: do.Words})
	}
	known := maps.Clone(s.context(Sender{}).Customer)
	known["customer"], known["operator"] = known["name"], c.Operator
	text, missing, found := s.knowledge().CannedReply(do.Name, s.Language, do.Values, s.Run.Data, known)
	switch {
	case !found:
		return nil, fmt.Errorf("%q: %w", do.Name, ErrNoCanned)
	case len(missing) > 0:
		return nil, fmt.Errorf("canned reply %s: %w: %s", do.Name, ErrVariables, strings.Join(missing, ", "))
	}
	return s.replyOf(Reply{Author: by, Text: text})
}

func (s informed) note(c Operate, do AddNote) ([]domain.Event, error) {
	text := strings.TrimSpace(do.Text)
	switch {
	case text == "":
		return nil, fmt.Errorf("note: %w", ErrEmpty)
	case len([]rune(text)) > MaxNote:
		return nil, fmt.Errorf("note: %w: %d characters at most", ErrTooLong, MaxNote)
	}
	return []domain.Event{NoteAdded{Ticket: s.Ticket.ID, Operator: c.Operator, Text: text, At: c.At}}, nil
}

// tag is of the last ticket, open or not: what a case was about is often seen at its end.
func (s informed) tag(do Tag) ([]domain.Event, error) {
	if s.Ticket.ID == "" {
		return nil, fmt.Errorf("tag: %w", ErrNoTicket)
	}
	for _, t := range slices.Concat(do.Add, do.Remove) {
		if !tag.MatchString(t) {
			return nil, fmt.Errorf("%q: %w", domain.Shorten(t, subjectMax), ErrTag)
		}
	}
	e := TicketTagged{Ticket: s.Ticket.ID}
	for _, t := range do.Remove {
		if slices.Contains(s.Ticket.Tags, t) && !slices.Contains(e.Removed, t) {
			e.Removed = append(e.Removed, t)
		}
	}
	for _, t := range do.Add {
		if !slices.Contains(s.Ticket.Tags, t) && !slices.Contains(e.Added, t) {
			e.Added = append(e.Added, t)
		}
	}
	switch n := len(s.Ticket.Tags) + len(e.Added) - len(e.Removed); {
	case len(e.Added)+len(e.Removed) == 0:
		return nil, nil
	case n > MaxTags:
		return nil, fmt.Errorf("%w: %d, and a ticket has %d at most", ErrTags, n, MaxTags)
	}
	return []domain.Event{e}, nil
}

func (s informed) setPriority(do SetPriority) ([]domain.Event, error) {
	switch {
	case !s.WithPerson():
		return nil, fmt.Errorf("set priority: %w", ErrNoTicket)
	case !do.Priority.Valid():
		return nil, fmt.Errorf("set priority: %q: %w", domain.Shorten(string(do.Priority), subjectMax), ErrPriority)
	case do.Priority == s.Ticket.Priority:
		return nil, nil
	}
	due, resolve := s.knowledge().Due(do.Priority, do.At)
	return []domain.Event{
		TicketPrioritized{
			Ticket: s.Ticket.ID, Was: s.Ticket.Priority, Priority: do.Priority, At: do.At, Due: due, Resolve: resolve,
		},
	}, nil
}

// followOperator takes what operators did into the state.
func (s State) followOperator(event domain.Event) State {
	switch e := event.(type) {
	case OperatorActed:
		s.Operated = domain.KeepLast(s.Operated, Operated{keyOf(e.Operator, e.Key), e.Fingerprint}, operatedKept)
	case TicketClaimed:
		s.Fence = e.Fence
		s.Ticket.Lease = Lease{e.Operator, e.Fence, e.Until}
	case ClaimReleased:
		s.Ticket.Lease = Lease{}
	case NoteAdded:
		s.Ticket = s.Ticket.hear(e.transcriptLine())
	case TicketTagged:
		tags := slices.DeleteFunc(slices.Clone(s.Ticket.Tags),
			func(t string) bool { return slices.Contains(e.Removed, t) })
		s.Ticket.Tags = append(tags, e.Added...)
		slices.Sort(s.Ticket.Tags)
	case TicketPrioritized:
		s.Ticket = s.Ticket.due(e.Due, e.Resolve)
		s.Ticket.Priority = e.Priority
	}
	return s
}

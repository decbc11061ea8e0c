package chat_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Acts of operators, and the permissions they need.

const lease = 5 * time.Minute

// by is an operator's act at noon and some time later; its key is of its own.
func by(operator string, after time.Duration, fence int64, do chat.Command) chat.Operate {
	return chat.Operate{Key: fmt.Sprintf("%s %v %T", operator, after, do), Fingerprint: 7, Operator: operator,
		Fence: fence, Do: do, At: noon.Add(after)}
}

// claimed is maria's claim of ticket #1, from noon on.
var claimed = chat.TicketClaimed{Ticket: "#1", Operator: "maria", Fence: 1, At: noon, Until: noon.Add(lease)}

// led is what an act led to, behind the event that says who did it.
func led(t *testing.T, o outcome) []domain.Event {
	t.Helper()
	if o.Err() != nil {
		t.Fatalf("refused: %v", o.Err())
	}
	acted, ok := o.Events[0].(chat.OperatorActed)
	if !ok || acted.Led != len(o.Events)-1 {
		t.Fatalf("%+v stands before %d events", o.Events[0], len(o.Events)-1)
	}
	return o.Events[1:]
}

func TestClaim_SecondOperator_Refused(t *testing.T) {
	opened := chat.TicketOpened{Ticket: "#1", Priority: dialog.Normal, At: noon}
	maria, jo := chat.Claim{For: lease}, chat.Claim{For: lease}

	o := given(t, opened).When(by("maria", 0, 0, maria))
	if got := led(t, o); !slices.Equal(got, []domain.Event{claimed}) {
		t.Errorf("claimed: %+v", got)
	}
	given(t, opened, claimed).When(by("jo", time.Minute, 0, jo)).ThenRefused(chat.ErrClaimed)
	for name, c := range map[string]struct {
		after    time.Duration
		operator string
		since    []domain.Event
		want     int64
	}{
		"for longer":                  {time.Minute, "maria", nil, 1},
		"by another when it ran out":  {lease, "jo", nil, 2},
		"by the same when it ran out": {lease, "maria", nil, 2},
		"released": {time.Minute, "jo",
			[]domain.Event{chat.ClaimReleased{Ticket: "#1", Operator: "maria", Fence: 1}}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			o := given(t, append([]domain.Event{opened, claimed}, c.since...)...).
				When(by(c.operator, c.after, 0, chat.Claim{For: lease}))
			if e := only[chat.TicketClaimed](t, o); e.Fence != c.want || e.Operator != c.operator ||
				!e.Until.Equal(noon.Add(c.after+lease)) || e.From != "" {
				t.Errorf("%+v, want fence %d", e, c.want)
			}
		})
	}
	// An admin may take over a claimed chat.
	forced := by("ann", time.Minute, 0, chat.Claim{For: lease})
	forced.Force = true
	if e := only[chat.TicketClaimed](t, given(t, opened, claimed).When(forced)); e.Fence != 2 || e.From != "maria" {
		t.Errorf("forced: %+v", e)
	}
	for _, wrong := range []time.Duration{0, -lease, chat.MinLease - 1, chat.MaxLease + 1} {
		given(t, opened).When(by("maria", 0, 0, chat.Claim{For: wrong})).ThenRefused(chat.ErrLease)
	}
}

func TestClaim_BotsChat_TakenOver(t *testing.T) {
	o := given(t, chat.TicketResolved{Ticket: "#1", At: noon}, wrote(1, "hello")).
		When(by("maria", 0, 0, chat.Claim{For: lease}))
	if e := only[chat.TicketOpened](t, o); e.Reason != chat.ReasonTakenOver || e.Subject != "hello" || e.Due.IsZero() {
		t.Errorf("%+v", e)
	}
	if !o.State.WithPerson() {
		t.Error("the bot has the chat still")
	}
	given(t, chat.ChatMigrated{To: -1001}).When(by("maria", 0, 0, chat.Claim{For: lease})).ThenRefused(chat.ErrMoved)
}

// Everything that only one person may do at a time, in every way to lack the claim.
func TestClaim_OtherOperator_CannotAct(t *testing.T) {
	opened := chat.TicketOpened{Ticket: "#1", Priority: dialog.Normal, At: noon}
	acts := []chat.Command{chat.Reply{Text: "hi"}, chat.CannedReply{Name: "sorry"},
		chat.AssignTicket{Assignee: "jo"}, chat.SetPriority{Priority: dialog.Low},
		chat.ResolveTicket{At: noon}, chat.HandBack{}, chat.Release{}}
	knows := func(c chat.Command) chat.Command {
		return under{c, chat.Settings{Knowledge: &dialog.Knowledge{
			Canned: map[string]dialog.Text{"sorry": {"en": "Sorry."}},
		}}}
	}
	joClaimed := chat.TicketClaimed{Ticket: "#1", Operator: "jo", Fence: 2, At: noon.Add(lease),
		Until: noon.Add(2 * lease)}
	for _, act := range acts {
		t.Run(fmt.Sprintf("%T", act), func(t *testing.T) {
			given(t, opened, claimed).When(knows(by("jo", time.Minute, 0, act))).ThenRefused(chat.ErrClaimed)
			given(t, opened, claimed).When(knows(by("jo", time.Minute, 1, act))).ThenRefused(chat.ErrClaimed)
			given(t, opened, claimed).When(knows(by("maria", time.Minute, 2, act))).ThenRefused(chat.ErrStale)
			given(t, opened, claimed).When(knows(by("maria", lease, 1, act))).ThenRefused(chat.ErrStale)
			given(t, opened, claimed, joClaimed).When(knows(by("maria", lease+time.Minute, 1, act))).
				ThenRefused(chat.ErrClaimed)
			given(t, opened, claimed, resolved, chat.TicketReopened{Ticket: "#1"}).
				When(knows(by("maria", time.Minute, 1, act))).ThenRefused(chat.ErrStale)
			if got := led(t, given(t, opened, claimed).When(knows(by("maria", time.Minute, 1, act)))); len(got) != 1 {
				t.Errorf("under the claim it led to %+v", got)
			}
		})
	}
	// Notes and tags do not need the claim.
	for _, act := range []chat.Command{chat.AddNote{Text: "hm"}, chat.Tag{Add: []string{"vip"}}} {
		if got := led(t, given(t, opened, claimed).When(by("jo", time.Minute, 0, act))); len(got) != 1 {
			t.Errorf("%T led to %+v", act, got)
		}
	}
}

func TestReply_UnclaimedChat_ClaimsIt(t *testing.T) {
	opened := chat.TicketOpened{Ticket: "#1", Priority: dialog.Normal, At: noon}
	reply := func(operator string, after time.Duration, fence int64) chat.Operate {
		c := by(operator, after, fence, chat.Reply{Text: "hi"})
		c.Lease = lease
		return c
	}
	said := chat.ReplyQueued{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "hi"}
	if got := led(t, given(t, opened).
		When(reply("maria", 0, 0))); !reflect.DeepEqual(got, []domain.Event{claimed, said}) {
		t.Errorf("unclaimed: %+v", got)
	}
	if got := led(t, given(t, opened, claimed).
		When(reply("maria", time.Minute, 0))); !reflect.DeepEqual(got, []domain.Event{said}) {
		t.Errorf("under her own claim: %+v", got)
	}
	o := given(t, opened, claimed).When(reply("jo", time.Minute, 0))
	o.ThenRefused(chat.ErrClaimed)
	if words := o.Err().Error(); !strings.Contains(words, "maria, until "+claimed.Until.Format(time.RFC3339)) {
		t.Error(words)
	}
	given(t, opened, claimed).When(reply("maria", lease, 1)).
		ThenRefused(chat.ErrStale) // who names a fence means that claim
	if e := only[chat.TicketClaimed](t, given(t, opened, claimed).When(reply("jo", lease, 0))); e.Fence != 2 ||
		e.Operator != "jo" {
		t.Errorf("when a claim ran out: %+v", e)
	}
	// A reply that is not sent claims nothing.
	mute := reply("maria", 0, 0)
	mute.Do = chat.Reply{}
	given(t, opened).When(mute).ThenRefused(chat.ErrEmpty)
	given(t, chat.ChatMigrated{To: -1001}).When(reply("maria", 0, 0)).ThenRefused(chat.ErrMoved)
}

// The next ticket is not the one that the desk keeps, and is told there with all that was
// said when it is referred.
func TestReply_TakesOver_OldTicketUnchanged(t *testing.T) {
	c := by("maria", 0, 0, chat.CannedReply{Name: "hello"})
	c.Lease = lease
	hello := chat.Settings{Knowledge: &dialog.Knowledge{
		Canned: map[string]dialog.Text{"hello": {"en": "Hello {customer}."}},
	}}
	o := given(t, wrote(1, "hi"), chat.TicketOpened{Ticket: "#1"},
		chat.TicketReferred{Ticket: "#1", Desk: "zendesk"}, resolved).When(under{c, hello})
	if e := only[chat.TicketOpened](t, o); e.Ticket != "#2" || e.Reason != chat.ReasonTakenOver {
		t.Errorf("%+v", e)
	}
	if told := all[chat.DeskUpdateQueued](o); len(told) > 0 ||
		!slices.Contains(o.State.Ticket.Said, "maria: Hello Anna.") {
		t.Errorf("the desk is told %+v; kept for it is %q", told, o.State.Ticket.Said)
	}
}

func TestDesk_ReplyIntoClaim_Refused(t *testing.T) {
	reply := chat.RecordAgent{ID: "1", Ticket: "#1", Desk: "zendesk", Act: chat.AgentReplied, Agent: "Tom",
		Text: "hi", At: noon.Add(time.Minute)}
	kept := []domain.Event{chat.TicketOpened{Ticket: "#1"}, chat.TicketReferred{Ticket: "#1", Desk: "zendesk"},
		claimed}
	o := given(t, kept...).When(reply)
	if a := only[chat.AgentActed](t, o); !strings.Contains(a.Refused, chat.ErrClaimed.Error()) ||
		len(all[chat.ReplyQueued](o)) > 0 {
		t.Errorf("%+v", o.Events)
	}
	if u := only[chat.DeskUpdateQueued](t, o); !strings.Contains(u.Text, "did not reach the customer") ||
		!strings.Contains(u.Text, "maria") {
		t.Errorf("the agent is told %+v", u)
	}
	reply.At = noon.Add(lease)
	only[chat.ReplyQueued](t, given(t, kept...).When(reply))
}

func TestClaim_TicketResolved_Ends(t *testing.T) {
	for _, end := range []domain.Event{resolved, chat.HandedBack{Ticket: "#1"}, chat.TicketOpened{Ticket: "#2"}} {
		o := given(t, chat.TicketOpened{Ticket: "#1"}, claimed, end, chat.TicketReopened{Ticket: "#1"}).
			When(by("jo", time.Minute, 0, chat.Claim{For: lease}))
		if e := only[chat.TicketClaimed](t, o); e.Fence != 2 || e.From != "" {
			t.Errorf("after %T: %+v", end, e)
		}
	}
}

func TestReply_Operator_IsItsAuthor(t *testing.T) {
	o := given(t, chat.TicketOpened{Ticket: "#1"}, claimed).
		When(by("maria", time.Minute, 1, chat.Reply{Author: chat.Author{Kind: chat.Bot}, Text: "On its way."}))
	if r := only[chat.ReplyQueued](t, o); r.Author != (chat.Author{Kind: chat.Person, Name: "maria"}) ||
		r.Text != "On its way." {
		t.Errorf("%+v", r)
	}
	if !o.State.Ticket.Replied {
		t.Error("nobody has replied")
	}
	given(t, chat.TicketOpened{Ticket: "#1"}, claimed).When(by("maria", time.Minute, 1, chat.Reply{Text: " "})).
		ThenRefused(chat.ErrEmpty)
}

func TestCannedReply_Variables_FilledOrNamed(t *testing.T) {
	knowledge := &dialog.Knowledge{Languages: []dialog.Language{"en", "de"}, Canned: map[string]dialog.Text{
		"hello": {"en": "Hello {customer}, {operator} here.", "de": "Hallo {customer}, hier ist {operator}."},
		"sent":  {"en": "Order {number} went to {address}; {carrier} has it."}}}
	past := []domain.Event{wrote(1, "hi"), chat.TicketOpened{Ticket: "#1"}, claimed}
	say := func(past []domain.Event, c chat.CannedReply) outcome {
		return given(t, past...).When(under{by("maria", time.Minute, 1, c), chat.Settings{Knowledge: knowledge}})
	}
	german := append(slices.Clone(past), chat.Understood{Language: "de"})
	for want, o := range map[string]outcome{
		"Hello Anna, maria here.":     say(past, chat.CannedReply{Name: "hello"}),
		"Hallo Anna, hier ist maria.": say(german, chat.CannedReply{Name: "hello"}),
		"Hello Ms Fox, maria here.": say(past,
			chat.CannedReply{Name: "hello", Values: map[string]string{"customer": "Ms Fox"}}),
		"Order 1 went to Rome; a goose has it.": say(past,
			chat.CannedReply{Name: "sent",
				Values: map[string]string{"number": "1", "address": "Rome", "carrier": "a goose"}}),
	} {
		if r := only[chat.ReplyQueued](t, o); r.Text != want || r.Author.Name != "maria" {
			t.Errorf("%+v, want %s", r, want)
		}
	}
	o := say(past, chat.CannedReply{Name: "sent", Values: map[string]string{"address": "Rome"}})
	if o.ThenRefused(chat.ErrVariables); !strings.HasSuffix(o.Err().Error(), ": carrier, number") {
		t.Error(o.Err())
	}
	say(past, chat.CannedReply{Name: "bye"}).ThenRefused(chat.ErrNoCanned)
}

func TestNote_Added_NotSent(t *testing.T) {
	o := given(t, chat.TicketOpened{Ticket: "#1"}).When(by("maria", 0, 0, chat.AddNote{Text: " she called \n"}))
	if got := led(t, o); !slices.Equal(got,
		[]domain.Event{chat.NoteAdded{Ticket: "#1", Operator: "maria", Text: "she called", At: noon}}) {
		t.Errorf("%+v", got)
	}
	given(t).When(by("maria", 0, 0, chat.AddNote{Text: " \n"})).ThenRefused(chat.ErrEmpty)
	given(t).When(by("maria", 0, 0, chat.AddNote{Text: strings.Repeat("é", chat.MaxNote+1)})).
		ThenRefused(chat.ErrTooLong)
	only[chat.NoteAdded](t, given(t).When(by("maria", 0, 0, chat.AddNote{Text: strings.Repeat("é", chat.MaxNote)})))
}

func TestTags_Repeated_ChangeOnce(t *testing.T) {
	tagged := chat.TicketTagged{Ticket: "#1", Added: []string{"b", "a"}}
	past := []domain.Event{chat.TicketOpened{Ticket: "#1"}, tagged}
	o := given(t, past...).
		When(by("maria", 0, 0, chat.Tag{Add: []string{"c", "a", "c"}, Remove: []string{"b", "x", "b"}}))
	if e := only[chat.TicketTagged](t, o); !slices.Equal(e.Added, []string{"c"}) ||
		!slices.Equal(e.Removed, []string{"b"}) {
		t.Errorf("%+v", e)
	}
	if !slices.Equal(o.State.Ticket.Tags, []string{"a", "c"}) {
		t.Errorf("tags %v", o.State.Ticket.Tags)
	}
	if got := led(t, given(t, past...).
		When(by("maria", 0, 0, chat.Tag{Add: []string{"a"}, Remove: []string{"x"}}))); len(got) > 0 {
		t.Errorf("it was so already, and led to %+v", got)
	}
	for _, wrong := range []string{"", "VIP", "a b", "-a", strings.Repeat("x", 41), "ä"} {
		given(t, past...).When(by("maria", 0, 0, chat.Tag{Add: []string{wrong}})).ThenRefused(chat.ErrTag)
	}
	var many []string
	for n := range chat.MaxTags - 1 {
		many = append(many, fmt.Sprint("t", n))
	}
	given(t, past...).When(by("maria", 0, 0, chat.Tag{Add: many})).ThenRefused(chat.ErrTags)
	only[chat.TicketTagged](t, given(t, past...).When(by("maria", 0, 0, chat.Tag{Add: many, Remove: []string{"a"}})))
	given(t, wrote(1, "hi")).When(by("maria", 0, 0, chat.Tag{Add: []string{"a"}})).ThenRefused(chat.ErrNoTicket)
}

func TestPriority_Changed_DueTimesRecomputed(t *testing.T) {
	opened := chat.TicketOpened{Ticket: "#1", Priority: dialog.High, At: noon, Due: noon.Add(time.Hour)}
	late := chat.DueBreached{Ticket: "#1", What: chat.DueResponse}
	for priority, within := range map[dialog.Priority]time.Duration{dialog.Urgent: 15 * time.Minute,
		dialog.Low: 24 * time.Hour} {
		o := given(t, opened, late).
			When(by("maria", time.Minute, 0, chat.SetPriority{Priority: priority, At: noon.Add(time.Minute)}))
		if e := only[chat.TicketPrioritized](t, o); e.Was != dialog.High ||
			!e.Due.Equal(noon.Add(time.Minute+within)) || !e.Resolve.After(e.Due) {
			t.Errorf("%+v", e)
		}
		if s := o.State.Ticket; s.Priority != priority || len(s.Breached) > 0 {
			t.Errorf("%+v", s)
		}
	}
	if got := led(t, given(t, opened).
		When(by("maria", 0, 0, chat.SetPriority{Priority: dialog.High, At: noon}))); len(got) > 0 {
		t.Errorf("%+v", got)
	}
	given(t, opened).When(by("maria", 0, 0, chat.SetPriority{Priority: "now"})).ThenRefused(chat.ErrPriority)
	given(t, opened, resolved).When(by("maria", 0, 0, chat.SetPriority{Priority: dialog.Low})).
		ThenRefused(chat.ErrNoTicket)
}

func TestAct_SameKey_DoneOnce(t *testing.T) {
	opened := chat.TicketOpened{Ticket: "#1", Priority: dialog.Normal, At: noon}
	for _, act := range []chat.Command{chat.Claim{For: lease}, chat.Release{}, chat.Reply{Text: "hi"},
		chat.AddNote{Text: "hm"}, chat.Tag{Add: []string{"a"}}, chat.Tag{Remove: []string{"a"}},
		chat.AssignTicket{Assignee: "jo"}, chat.SetPriority{Priority: dialog.Low, At: noon},
		chat.ResolveTicket{At: noon}, chat.HandBack{}, chat.Already{Act: chat.ActTag}} {
		once := by("maria", time.Minute, 0, act)
		o := given(t, opened, claimed).When(once)
		past := append([]domain.Event{opened, claimed}, o.Events...)
		led(t, o)
		for n := range 63 { // others come in between
			past = append(past, wrote(int64(n+2), "hello?"), chat.OperatorActed{Key: fmt.Sprint(n), Operator: "jo"})
		}
		given(t, past...).When(once).ThenNothing()
		again := once
		again.At, again.Fence = again.At.Add(time.Hour), 99
		given(t, past...).When(again).ThenNothing()
		again.Fingerprint++
		given(t, past...).When(again).ThenRefused(chat.ErrKeyReused)
		if again.Operator = "jo"; len(given(t, opened, chat.OperatorActed{Key: once.Key, Operator: "maria"}).
			When(by("jo", 0, 0, chat.AddNote{Text: "hm"})).Events) == 0 {
			t.Error("another's key is taken for one's own")
		}
	}
	// The store finds acts that the state no longer remembers.
	old := by("maria", 0, 0, chat.AddNote{Text: "hm"})
	past, print := []domain.Event{opened}, old.Fingerprint
	for n := range 64 {
		if chat.MayHaveForgottenAct(chat.Decider.Fold(chat.Decider.Initial(), past...), old) {
			t.Fatalf("after %d acts it could be one that is forgotten", n)
		}
		past = append(past, chat.OperatorActed{Key: fmt.Sprint(n), Operator: "jo"})
	}
	if full := chat.Decider.Fold(chat.Decider.Initial(), past...); !chat.MayHaveForgottenAct(full, old) ||
		chat.MayHaveForgottenAct(full, chat.Operate{Operator: "jo", Key: "0"}) {
		t.Error("of 64 that are remembered it is none, and could not be one before them")
	}
	old.Forgotten = &print
	given(t, past...).When(old).ThenNothing()
	old.Fingerprint++
	given(t, past...).When(old).ThenRefused(chat.ErrKeyReused)
	// A refused act may be repeated.
	refused := by("maria", 0, 0, chat.Reply{})
	given(t, opened).When(refused).ThenRefused(chat.ErrEmpty)
	refused.Do, refused.Fingerprint = chat.Reply{Text: "hi"}, 8
	only[chat.ReplyQueued](t, given(t, opened).When(refused))
}

func TestAct_WithoutKey_NotRemembered(t *testing.T) {
	opened := chat.TicketOpened{Ticket: "#1", Priority: dialog.Normal, At: noon}
	c := chat.Operate{Operator: "jo", Do: chat.ResolveTicket{At: noon}, At: noon}
	given(t, opened).When(c).Then(resolved)
	given(t, opened, claimed).When(c).ThenRefused(chat.ErrClaimed)
	c.Force = true
	given(t, opened, claimed).When(c).Then(resolved)
}

func TestDesk_OperatorsActs_Reported(t *testing.T) {
	referred := []domain.Event{chat.TicketOpened{Ticket: "#1", Priority: dialog.Normal},
		chat.TicketReferred{Ticket: "#1", Desk: "zendesk"}}
	for _, c := range []struct {
		do   chat.Command
		want []chat.DeskUpdateQueued
	}{
		{chat.Claim{For: lease}, nil},
		{chat.Tag{Add: []string{"a"}}, nil},
		{chat.AddNote{Text: "she called"}, []chat.DeskUpdateQueued{{Text: "maria: noted: she called"}}},
		{chat.SetPriority{Priority: dialog.Low, At: noon}, []chat.DeskUpdateQueued{{Priority: dialog.Low}}},
		{chat.Reply{Text: "hi"}, []chat.DeskUpdateQueued{{Text: "maria: hi", Public: true}}},
		{chat.ResolveTicket{At: noon}, []chat.DeskUpdateQueued{{Status: "solved"}}},
	} {
		o := given(t, referred...).When(by("maria", 0, 0, c.do))
		led(t, o)
		for i := range c.want {
			c.want[i].Ticket, c.want[i].Desk = "#1", "zendesk"
		}
		if got := all[chat.DeskUpdateQueued](o); !slices.Equal(got, c.want) {
			t.Errorf("%T: %+v", c.do, got)
		}
	}
}

func TestAct_Many_StateStaysSmall(t *testing.T) {
	state := chat.Decider.Fold(chat.Decider.Initial(), chat.TicketOpened{Ticket: "#1"})
	for n := range 500 {
		state = chat.Decider.Fold(state, chat.OperatorActed{Key: strings.Repeat("k", 100) + fmt.Sprint(n)},
			chat.NoteAdded{Text: strings.Repeat("x", 4000)},
			chat.TicketClaimed{Fence: int64(n)}, chat.TicketTagged{Added: []string{"a"}},
			chat.TicketTagged{Removed: []string{"a"}})
	}
	if len(state.Operated) > 64 || cap(state.Operated) > 128 || len(state.Ticket.Tags) > 0 ||
		len(state.Ticket.Said) > 5 {
		t.Errorf("%d acts (room for %d), %d tags, %d lines", len(state.Operated), cap(state.Operated),
			len(state.Ticket.Tags), len(state.Ticket.Said))
	}
}

// operate is anybody's act, under any fence.
func (c *chatter) operate(t *rapid.T, priority dialog.Priority) chat.Command {
	tags := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "?"}), 0, 2)
	return chat.Operate{Key: fmt.Sprint(rapid.IntRange(0, 200).Draw(t, "key")),
		Fingerprint: rapid.Uint64Range(1, 2).Draw(t, "print"), At: c.now,
		Operator: rapid.SampledFrom([]string{"maria", "jo"}).Draw(t, "who"), Fence: rapid.Int64Range(0, 5).
				Draw(t, "fence"), Force: rapid.Bool().Draw(t, "force"),
		Lease: rapid.SampledFrom([]time.Duration{0, chat.MaxLease}).Draw(t, "lease"),
		Do: rapid.SampledFrom([]chat.Command{chat.Already{Act: chat.ActTag}, chat.Claim{For: chat.MaxLease},
			chat.Claim{For: chat.MinLease}, chat.Release{}, chat.Reply{Text: "hi"}, chat.CannedReply{Name: "?"},
			chat.AddNote{Text: "hm"}, chat.Tag{Add: tags.Draw(t, "add"), Remove: tags.Draw(t, "remove")},
			chat.AssignTicket{Assignee: "jo"}, chat.SetPriority{Priority: priority, At: c.now},
			chat.OpenTicket{Priority: priority, At: c.now}, chat.ResolveTicket{At: c.now},
			chat.ReopenTicket{At: c.now}, chat.HandBack{}}).Draw(t, "do")}
}

// After any commands: fences only rise, a claim has an operator and an open ticket, and an
// operator replies into another's claim only by force.
func TestClaim_AnyOrder_OneHolder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		life(t, func(state chat.State, command chat.Command, events []domain.Event) {
			now := state
			for _, event := range events {
				before := now
				now = chat.Decider.Evolve(now, event)
				if now.Fence < before.Fence {
					t.Fatalf("%+v led from fence %d to %d", command, before.Fence, now.Fence)
				}
				if e, claimed := event.(chat.TicketClaimed); claimed {
					if had, runs := before.Lease(e.At); runs && had.Operator != e.Operator &&
						(e.Fence <= had.Fence || e.From != had.Operator) {
						t.Fatalf("%+v took %+v", e, had)
					}
					if !now.WithPerson() || e.Ticket != now.Ticket.ID {
						t.Fatalf("%+v of ticket %+v", e, now.Ticket)
					}
				}
			}
			if own, ok := command.(under); ok {
				command = own.Command
			}
			c, acts := command.(chat.Operate)
			if !acts || c.Force {
				return
			}
			for _, event := range events {
				if had, runs := state.Lease(c.At); runs && had.Operator != c.Operator {
					if _, answered := event.(chat.ReplyQueued); answered {
						t.Fatalf("%s answers while %+v", c.Operator, had)
					}
				}
			}
		})
	})
}

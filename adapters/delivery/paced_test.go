package delivery

import (
	stdcmp "cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// gate is a flow that answers as it is told, then lets everything through.
type gate struct {
	mu      sync.Mutex
	answers []commands.Permit
	asked   []commands.PermitRequest
	told    []string // what was recorded, in words
	err     error
}

func (g *gate) Acquire(_ context.Context, a commands.PermitRequest) (commands.Permit, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, a)
	if g.err != nil || len(g.answers) == 0 {
		return commands.Permit{}, g.err
	}
	leave := g.answers[0]
	g.answers = g.answers[1:]
	return leave, nil
}

func (g *gate) RetryAfter(_ context.Context, bot, chat domain.StreamID, wait time.Duration, _ string) (time.Duration, error) {
	return stdcmp.Or(wait, backoff), g.note("flood %s %s %s", bot, chat, wait)
}

// backoff is the gate's wait after a flood without one.
const backoff = 16 * time.Second

func (g *gate) Suspend(_ context.Context, name domain.StreamID, cause commands.Cause, wait time.Duration, _ string) error {
	return g.note("close %s %s %s", name, cause, wait)
}

func (g *gate) Resume(_ context.Context, name domain.StreamID, cause commands.Cause) error {
	return g.note("open %s %s", name, cause)
}

func (g *gate) MoveOrderingKey(_ context.Context, from, to domain.StreamID) error {
	return g.note("move %s %s", from, to)
}

func (g *gate) note(format string, args ...any) error {
	g.told = append(g.told, fmt.Sprintf(format, args...))
	return g.err
}

// newPaced is bot demo with Telegram's limits; Telegram answers as said.
func newPaced(g *gate, answer commands.Outcome) (*Paced, *sender) {
	s := &sender{outcome: answer}
	p := &Paced{Sender: s, Limits: g, Log: slog.New(slog.DiscardHandler),
		Chats: chats{blocked: true}}
	p.Add("demo", Limits{Bot: 30, Chat: 1, Group: 20})
	return p, s
}

// silent is a Sender for several at once.
type silent struct{}

func (silent) Send(context.Context, commands.Claimed) commands.Outcome { return done }

var done = commands.Outcome{State: domain.DeliveryDone, MessageID: 1}

// message is a claimed message of the bot's.
func message() commands.Claimed {
	c := claim()
	c.Priority, c.OrderingKey = commands.PriorityBot, string(c.Stream)
	return c
}

func TestPaced_NoPermit_PostponedWithoutCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, leave := range []commands.Permit{
			{Wait: 700 * time.Millisecond, Chat: true},
			{Wait: 17 * time.Second, Chat: true, Cause: commands.CauseFlood, Reason: "retry after 17"},
		} {
			p, s := newPaced(&gate{answers: []commands.Permit{leave}}, done)
			begun := time.Now()
			o := p.Send(t.Context(), message())
			if o.State != domain.DeliveryRetry || !o.Untried || o.After != leave.Wait || s.sent > 0 || !strings.Contains(o.Reason, "the chat") || !strings.Contains(o.Reason, leave.Reason) {
				t.Errorf("outcome %+v, %d calls", o, s.sent)
			}
			if took := time.Since(begun); took > 0 {
				t.Errorf("it stood in others' way for %s", took)
			}
		}
	})
}

func TestPaced_BotLimit_WaitsInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := commands.Permit{Wait: 40 * time.Millisecond}
		p, s := newPaced(&gate{answers: []commands.Permit{wait, wait, wait}}, done)
		begun := time.Now()
		if o := p.Send(t.Context(), message()); o.State != domain.DeliveryDone || s.sent != 1 {
			t.Errorf("outcome %+v, %d calls", o, s.sent)
		}
		if took := time.Since(begun); took != 3*wait.Wait {
			t.Errorf("it took %s, want three waits", took)
		}
	})
}

// A bot that may not call claims little.
func TestPaced_BotClosed_ClaimsFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		for range 100 {
			g.answers = append(g.answers, commands.Permit{Wait: 20 * time.Second, Cause: commands.CauseToken, Reason: "unauthorized"})
		}
		p, s := newPaced(g, done)
		begun := time.Now()
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				o := p.Send(t.Context(), message())
				if o.State != domain.DeliveryRetry || !o.Untried || o.After != 20*time.Second || !strings.Contains(o.Reason, "the bot: unauthorized") {
					t.Errorf("outcome %+v", o)
				}
			})
		}
		all.Wait()
		if took := time.Since(begun); took != hold || s.sent > 0 {
			t.Errorf("in hand for %s, %d calls; want %s and none", took, s.sent, hold)
		}
		if len(g.asked) > 20 {
			t.Errorf("asked %d times, want once or twice each", len(g.asked))
		}
	})
}

// One of the bot's own messages asks for all that wait; people's do not wait for it.
func TestPaced_OperatorReply_NotBehindBot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{answers: []commands.Permit{{Wait: 500 * time.Millisecond}}}
		p, _ := newPaced(g, done)
		p.Sender = silent{}
		var all sync.WaitGroup
		begun := time.Now()
		for range 3 {
			all.Go(func() { p.Send(t.Context(), message()) })
		}
		synctest.Wait()
		for _, priority := range []int{commands.PriorityPerson, commands.PriorityButton} {
			c := message()
			c.Priority = priority
			if o := p.Send(t.Context(), c); o.State != domain.DeliveryDone || time.Since(begun) > 0 {
				t.Errorf("priority %d: %+v after %s", priority, o, time.Since(begun))
			}
		}
		g.mu.Lock()
		if len(g.asked) != 3 {
			t.Errorf("asked %d times, want once for the bot and once for each of the others", len(g.asked))
		}
		g.mu.Unlock()
		all.Wait()
	})
}

// Typing is shed at once.
func TestPaced_TypingWithoutPermit_Dropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newPaced(&gate{answers: []commands.Permit{{Wait: time.Millisecond}}}, done)
		begun := time.Now()
		if o := p.Send(t.Context(), commands.Typing("chat-demo:1")); o.State != domain.DeliveryRetry || s.sent > 0 || time.Since(begun) > 0 {
			t.Errorf("outcome %+v, %d calls after %s", o, s.sent, time.Since(begun))
		}
	})
}

// The hurried may use all of the bot's burst, others leave room for them.
func TestPaced_Call_PermitsTaken(t *testing.T) {
	t.Parallel()
	const flow, groupFlow = time.Second * 4 / 90, 4 * time.Second
	bot := func(slack time.Duration) commands.Share {
		return commands.Share{Name: "bot-demo", Every: flow, Slack: slack}
	}
	private := commands.Share{Name: "chat-demo:1", Every: time.Second, Slack: 2 * time.Second}
	for name, c := range map[string]struct {
		stream   domain.StreamID
		kind     domain.DeliveryKind
		priority int
		body     string
		want     commands.PermitRequest
	}{
		"a person's message":   {"chat-demo:1", domain.KindSendMessage, commands.PriorityPerson, `{"text": "hi"}`, commands.PermitRequest{Bot: bot(4 * flow), Chat: private}},
		"the bot's message":    {"chat-demo:1", domain.KindSendMessage, commands.PriorityBot, `{"text": "hi"}`, commands.PermitRequest{Bot: bot(2 * flow), Chat: private}},
		"a message to a group": {"chat-demo:-100", domain.KindSendMessage, commands.PriorityBot, `{"text": "hi"}`, commands.PermitRequest{Bot: bot(2 * flow), Chat: commands.Share{Name: "chat-demo:-100", Every: groupFlow, Slack: 2 * groupFlow}}},
		"an album of three": {"chat-demo:1", domain.KindSendMessage, commands.PriorityPerson, `{"media": [{}, {}, {}]}`, commands.PermitRequest{
			Bot: commands.Share{Name: "bot-demo", Every: 3 * flow, Slack: 4 * flow}, Chat: commands.Share{Name: "chat-demo:1", Every: 3 * time.Second, Slack: 2 * time.Second}}},
		"typing":               {"chat-demo:1", domain.KindTyping, commands.PriorityTyping, "", commands.PermitRequest{Bot: bot(0), Chat: commands.Share{Name: "chat-demo:1", Every: time.Second}}},
		"an answer to a press": {"chat-demo:1", domain.KindAnswerButton, commands.PriorityButton, `{"text": "hi"}`, commands.PermitRequest{Bot: bot(4 * flow)}},
	} {
		g := &gate{}
		p, _ := newPaced(g, done)
		d := message()
		d.Stream, d.OrderingKey, d.Kind, d.Priority, d.Body = c.stream, string(c.stream), c.kind, c.priority, []byte(c.body)
		p.Send(t.Context(), d)
		if diff := cmp.Diff([]commands.PermitRequest{c.want}, g.asked); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A limiter that gives way whenever it may never lets more through than the limit, in
// no span of time, and not much less.
func TestPaced_AnySpan_LimitNotExceeded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 1000).Draw(t, "limit")
		l := within(time.Second, float64(n))
		var tat time.Duration
		var calls []time.Duration
		for now := time.Duration(0); now < 5*time.Second && len(calls) < 5000; {
			if slack := l.share("", 1).Slack; tat-slack > now {
				now = tat - slack
			}
			tat = max(tat, now) + l.every
			calls = append(calls, now)
			now += time.Duration(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 100}).Draw(t, "quiet")) * time.Millisecond
		}
		for first, last := 0, 0; last < len(calls); last++ {
			for calls[last]-calls[first] >= time.Second {
				first++
			}
			if last-first+1 > n {
				t.Fatalf("%d calls in a second, of %d", last-first+1, n)
			}
		}
		if rate := float64(time.Second) / float64(l.every); rate < .74*float64(n) {
			t.Fatalf("%g a second flow, of %d", rate, n)
		}
	})
}

func TestPaced_RetryAfter_Recorded(t *testing.T) {
	t.Parallel()
	flooded := commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseFlood, After: 9 * time.Second}
	wrong := commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseToken, After: time.Minute}
	for name, c := range map[string]struct {
		kind    domain.DeliveryKind
		answer  commands.Outcome
		probe   bool
		told    string
		untried bool
	}{
		"to wait, without a time":       {domain.KindSendMessage, commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseFlood}, false, "flood bot-demo chat-demo:1 0s", true},
		"done":                          {domain.KindSendMessage, done, false, "", false},
		"to wait":                       {domain.KindSendMessage, flooded, false, "flood bot-demo chat-demo:1 9s", true},
		"to wait, while typing":         {domain.KindTyping, flooded, false, "flood bot-demo chat-demo:1 9s", true},
		"to wait, with a button":        {domain.KindAnswerButton, flooded, false, "close bot-demo flood 9s", true},
		"a wrong token":                 {domain.KindSendMessage, wrong, false, "close bot-demo token 1m0s", true},
		"a token that is still wrong":   {domain.KindSendMessage, wrong, true, "close bot-demo token 1m0s", true},
		"a token that is right again":   {domain.KindSendMessage, done, true, "open bot-demo token", false},
		"a refusal shows that it is":    {domain.KindSendMessage, commands.Outcome{State: domain.DeliveryRefused}, true, "open bot-demo token", false},
		"the group has moved":           {domain.KindSendMessage, commands.Outcome{State: domain.DeliveryRetry, MovedTo: -1001}, false, "move chat-demo:1 chat-demo:-1001", false},
		"silence shows nothing":         {domain.KindSendMessage, commands.Outcome{State: domain.DeliveryUnknown}, true, "", false},
		"a customer who has blocked us": {domain.KindSendMessage, commands.Outcome{State: domain.DeliveryRefused, Blocked: true}, false, "close chat-demo:1 blocked 0s", false},
	} {
		g := &gate{answers: []commands.Permit{{Probe: c.probe, Cause: commands.CauseToken}}}
		p, _ := newPaced(g, c.answer)
		d := message()
		d.Kind = c.kind
		o := p.Send(t.Context(), d)
		if got := strings.Join(g.told, "; "); got != c.told {
			t.Errorf("%s: recorded %q, want %q", name, got, c.told)
		}
		if want := backoff; name == "to wait, without a time" && o.After != want {
			t.Errorf("%s: again after %s, want %s", name, o.After, want)
		}
		if o.State != c.answer.State || o.Untried != c.untried {
			t.Errorf("%s: outcome %+v", name, o)
		}
	}
}

// A blocked chat is not called until its events say otherwise.
func TestPaced_BlockedChat_NotCalled(t *testing.T) {
	t.Parallel()
	closed := commands.Permit{Wait: time.Hour, Chat: true, Cause: commands.CauseBlocked}

	p, s := newPaced(&gate{answers: []commands.Permit{closed}}, done)
	if o := p.Send(t.Context(), message()); o.State != domain.DeliveryRefused || o.Blocked || s.sent > 0 || !strings.HasPrefix(o.Reason, "suppressed") {
		t.Errorf("outcome %+v, %d calls", o, s.sent)
	}

	g := &gate{answers: []commands.Permit{closed}}
	p, s = newPaced(g, done)
	p.Chats = chats{}
	if o := p.Send(t.Context(), message()); o.State != domain.DeliveryDone || s.sent != 1 || strings.Join(g.told, "; ") != "open chat-demo:1 blocked" {
		t.Errorf("back again: outcome %+v, %d calls, recorded %q", o, s.sent, g.told)
	}

	p, s = newPaced(&gate{answers: []commands.Permit{closed}}, done)
	p.Chats = chats{err: errors.New("no connection")}
	if o := p.Send(t.Context(), message()); o.State != domain.DeliveryRetry || !o.Untried || s.sent > 0 {
		t.Errorf("nobody knows: outcome %+v, %d calls", o, s.sent)
	}
}

// Without limits a call costs nothing here, unless something is closed.
func TestPaced_NoLimits_OnlyClosedAsked(t *testing.T) {
	t.Parallel()
	g := &gate{}
	p, s := newPaced(g, done)
	p.Add("demo", Limits{})
	c := message()
	if p.Send(t.Context(), c); len(g.asked) > 0 || s.sent != 1 {
		t.Errorf("asked %v, %d calls", g.asked, s.sent)
	}
	c.Closed = true
	g.answers = []commands.Permit{{Wait: time.Second, Chat: true, Cause: commands.CauseFlood}}
	if o := p.Send(t.Context(), c); len(g.asked) != 1 || s.sent != 1 || !o.Untried {
		t.Errorf("asked %v, %d calls, outcome %+v", g.asked, s.sent, o)
	}
}

// Without an answer nothing is called.
func TestPaced_LimiterFails_NotCalled(t *testing.T) {
	t.Parallel()
	p, s := newPaced(&gate{err: errors.New("no connection")}, done)
	if o := p.Send(t.Context(), message()); o.State != domain.DeliveryRetry || !o.Untried || o.After == 0 || s.sent > 0 {
		t.Errorf("outcome %+v, %d calls", o, s.sent)
	}
}

// chats are Chats that all are blocked, or none.
type chats struct {
	blocked bool
	err     error
}

func (c chats) Blocked(context.Context, domain.StreamID) (bool, error) { return c.blocked, c.err }

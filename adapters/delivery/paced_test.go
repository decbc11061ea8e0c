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

// limiter is a RateLimiter that returns the given answers, and then grants every request.
type limiter struct {
	mu      sync.Mutex
	answers []commands.Permit
	asked   []commands.PermitRequest
	calls   []string // calls of the other methods
	err     error
}

func (g *limiter) Acquire(_ context.Context, a commands.PermitRequest) (commands.Permit, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, a)
	if g.err != nil || len(g.answers) == 0 {
		return commands.Permit{}, g.err
	}
	permit := g.answers[0]
	g.answers = g.answers[1:]
	return permit, nil
}

func (g *limiter) RetryAfter(
	_ context.Context, bot, chat domain.StreamID, wait time.Duration, _ string,
) (time.Duration, error) {
	return stdcmp.Or(wait, backoff), g.note("retry after %s %s %s", bot, chat, wait)
}

// backoff is the limiter's wait after a 429 without a retry_after.
const backoff = 16 * time.Second

func (g *limiter) Suspend(
	_ context.Context, name domain.StreamID, cause commands.Cause, wait time.Duration, _ string,
) error {
	return g.note("suspend %s %s %s", name, cause, wait)
}

func (g *limiter) Resume(_ context.Context, name domain.StreamID, cause commands.Cause) error {
	return g.note("resume %s %s", name, cause)
}

func (g *limiter) MoveOrderingKey(_ context.Context, from, to domain.StreamID) error {
	return g.note("move %s %s", from, to)
}

func (g *limiter) note(format string, args ...any) error {
	g.calls = append(g.calls, fmt.Sprintf(format, args...))
	return g.err
}

// newPaced returns a Paced for the bot demo with Telegram's limits. Every call has the outcome answer.
func newPaced(g *limiter, answer commands.Outcome) (*Paced, *sender) {
	s := &sender{outcome: answer}
	p := &Paced{Sender: s, Limits: g, Log: slog.New(slog.DiscardHandler), Chats: chats{blocked: true}}
	p.Add("demo", Limits{Bot: 30, Chat: 1, Group: 20})
	return p, s
}

// concurrent is a Sender that is safe for concurrent use.
type concurrent struct{}

func (concurrent) Send(context.Context, commands.Claimed) commands.Outcome { return done }

var done = commands.Outcome{State: domain.DeliveryDone, MessageID: 1}

// message returns a claimed message of the bot.
func message() commands.Claimed {
	c := claim()
	c.Priority, c.OrderingKey = commands.PriorityBot, string(c.Stream)
	return c
}

func TestPaced_NoPermit_PostponedWithoutCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, permit := range []commands.Permit{
			{Wait: 700 * time.Millisecond, Chat: true},
			{Wait: 17 * time.Second, Chat: true, Cause: commands.CauseFlood, Reason: "retry after 17"},
		} {
			p, s := newPaced(&limiter{answers: []commands.Permit{permit}}, done)
			begun := time.Now()
			o := p.Send(t.Context(), message())
			if o.State != domain.DeliveryRetry || !o.Untried || o.After != permit.Wait || s.sent > 0 ||
				!strings.Contains(o.Reason, "the chat") || !strings.Contains(o.Reason, permit.Reason) {
				t.Errorf("outcome %+v, %d calls", o, s.sent)
			}
			if took := time.Since(begun); took > 0 {
				t.Errorf("Send waited for %s, want no wait: a wait delays other chats", took)
			}
		}
	})
}

func TestPaced_BotLimit_SendWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := commands.Permit{Wait: 40 * time.Millisecond}
		p, s := newPaced(&limiter{answers: []commands.Permit{wait, wait, wait}}, done)
		begun := time.Now()
		if o := p.Send(t.Context(), message()); o.State != domain.DeliveryDone || s.sent != 1 {
			t.Errorf("outcome %+v, %d calls", o, s.sent)
		}
		if took := time.Since(begun); took != 3*wait.Wait {
			t.Errorf("Send took %s, want three waits", took)
		}
	})
}

// A worker holds the deliveries of a bot without a permit for a second, so that it claims few of them, and
// asks for a permit at most twice each.
func TestPaced_BotSuspended_HeldForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &limiter{}
		for range 100 {
			refused := commands.Permit{Wait: 20 * time.Second, Cause: commands.CauseToken, Reason: "unauthorized"}
			g.answers = append(g.answers, refused)
		}
		p, s := newPaced(g, done)
		begun := time.Now()
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				o := p.Send(t.Context(), message())
				if o.State != domain.DeliveryRetry || !o.Untried || o.After != 20*time.Second ||
					!strings.Contains(o.Reason, "the bot: unauthorized") {
					t.Errorf("outcome %+v", o)
				}
			})
		}
		all.Wait()
		if took := time.Since(begun); took != hold || s.sent > 0 {
			t.Errorf("held for %s, %d calls; want %s and none", took, s.sent, hold)
		}
		if len(g.asked) > 20 {
			t.Errorf("asked %d times, want once or twice each", len(g.asked))
		}
	})
}

// Of the bot's own messages that wait, one asks for a permit. Operators' messages and answers to buttons
// do not wait behind them.
func TestPaced_OperatorReply_NotBehindBot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &limiter{answers: []commands.Permit{{Wait: 500 * time.Millisecond}}}
		p, _ := newPaced(g, done)
		p.Sender = concurrent{}
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

// Typing without a permit is dropped at once.
func TestPaced_TypingWithoutPermit_Dropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newPaced(&limiter{answers: []commands.Permit{{Wait: time.Millisecond}}}, done)
		begun := time.Now()
		o := p.Send(t.Context(), commands.Typing("chat-demo:1"))
		if o.State != domain.DeliveryRetry || s.sent > 0 || time.Since(begun) > 0 {
			t.Errorf("outcome %+v, %d calls after %s", o, s.sent, time.Since(begun))
		}
	})
}

// Operators' messages and answers to buttons may use all of the bot's burst, its own messages half of it.
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
		"an operator's message": {"chat-demo:1", domain.KindSendMessage, commands.PriorityPerson, `{"text": "hi"}`,
			commands.PermitRequest{Bot: bot(4 * flow), Chat: private}},
		"the bot's message": {"chat-demo:1", domain.KindSendMessage, commands.PriorityBot, `{"text": "hi"}`,
			commands.PermitRequest{Bot: bot(2 * flow), Chat: private}},
		"a message to a group": {"chat-demo:-100", domain.KindSendMessage, commands.PriorityBot, `{"text": "hi"}`,
			commands.PermitRequest{Bot: bot(2 * flow),
				Chat: commands.Share{Name: "chat-demo:-100", Every: groupFlow, Slack: 2 * groupFlow}}},
		"an album of three": {"chat-demo:1", domain.KindSendMessage, commands.PriorityPerson, `{"media": [{}, {}, {}]}`,
			commands.PermitRequest{
				Bot:  commands.Share{Name: "bot-demo", Every: 3 * flow, Slack: 4 * flow},
				Chat: commands.Share{Name: "chat-demo:1", Every: 3 * time.Second, Slack: 2 * time.Second}}},
		"typing": {"chat-demo:1", domain.KindTyping, commands.PriorityTyping, "",
			commands.PermitRequest{Bot: bot(0), Chat: commands.Share{Name: "chat-demo:1", Every: time.Second}}},
		"an answer to a button": {"chat-demo:1", domain.KindAnswerButton, commands.PriorityButton, `{"text": "hi"}`,
			commands.PermitRequest{Bot: bot(4 * flow)}},
	} {
		g := &limiter{}
		p, _ := newPaced(g, done)
		d := message()
		d.Stream, d.OrderingKey, d.Kind, d.Priority, d.Body = c.stream, string(c.stream), c.kind, c.priority, []byte(c.body)
		p.Send(t.Context(), d)
		if diff := cmp.Diff([]commands.PermitRequest{c.want}, g.asked); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// With calls at the earliest times that the limiter allows, no second has more calls than the limit, and
// the average is not much below it.
func TestWithin_AnySecond_LimitNotExceeded(t *testing.T) {
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
				t.Fatalf("%d calls in a second, want at most %d", last-first+1, n)
			}
		}
		if rate := float64(time.Second) / float64(l.every); rate < .74*float64(n) {
			t.Fatalf("%g calls a second on average, want almost %d", rate, n)
		}
	})
}

func TestPaced_Answer_LimitRecorded(t *testing.T) {
	t.Parallel()
	limited := commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseFlood, After: 9 * time.Second}
	wrong := commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseToken, After: time.Minute}
	for name, c := range map[string]struct {
		kind    domain.DeliveryKind
		answer  commands.Outcome
		probe   bool
		calls   string
		untried bool
	}{
		"429 without retry_after": {domain.KindSendMessage,
			commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseFlood}, false,
			"retry after bot-demo chat-demo:1 0s", true},
		"done":               {domain.KindSendMessage, done, false, "", false},
		"429":                {domain.KindSendMessage, limited, false, "retry after bot-demo chat-demo:1 9s", true},
		"429 to typing":      {domain.KindTyping, limited, false, "retry after bot-demo chat-demo:1 9s", true},
		"429 to a button":    {domain.KindAnswerButton, limited, false, "suspend bot-demo flood 9s", true},
		"wrong token":        {domain.KindSendMessage, wrong, false, "suspend bot-demo token 1m0s", true},
		"probe, wrong token": {domain.KindSendMessage, wrong, true, "suspend bot-demo token 1m0s", true},
		"probe, valid token": {domain.KindSendMessage, done, true, "resume bot-demo token", false},
		"probe, call refused": {domain.KindSendMessage, commands.Outcome{State: domain.DeliveryRefused}, true,
			"resume bot-demo token", false},
		"group migrated": {domain.KindSendMessage,
			commands.Outcome{State: domain.DeliveryRetry, MovedTo: -1001}, false, "move chat-demo:1 chat-demo:-1001", false},
		"probe, no answer": {domain.KindSendMessage, commands.Outcome{State: domain.DeliveryUnknown}, true, "", false},
		"bot blocked": {domain.KindSendMessage,
			commands.Outcome{State: domain.DeliveryRefused, Blocked: true}, false, "suspend chat-demo:1 blocked 0s", false},
	} {
		g := &limiter{answers: []commands.Permit{{Probe: c.probe, Cause: commands.CauseToken}}}
		p, _ := newPaced(g, c.answer)
		d := message()
		d.Kind = c.kind
		o := p.Send(t.Context(), d)
		if got := strings.Join(g.calls, "; "); got != c.calls {
			t.Errorf("%s: recorded %q, want %q", name, got, c.calls)
		}
		if want := backoff; name == "429 without retry_after" && o.After != want {
			t.Errorf("%s: retry after %s, want %s", name, o.After, want)
		}
		if o.State != c.answer.State || o.Untried != c.untried {
			t.Errorf("%s: outcome %+v", name, o)
		}
	}
}

// A chat that was suspended because its customer blocked the bot is called again only if its events say
// that the customer has returned.
func TestPaced_BlockedChat_NotCalled(t *testing.T) {
	t.Parallel()
	closed := commands.Permit{Wait: time.Hour, Chat: true, Cause: commands.CauseBlocked}

	p, s := newPaced(&limiter{answers: []commands.Permit{closed}}, done)
	if o := p.Send(t.Context(), message()); o.State != domain.DeliveryRefused || o.Blocked || s.sent > 0 ||
		!strings.HasPrefix(o.Reason, "suppressed") {
		t.Errorf("outcome %+v, %d calls", o, s.sent)
	}

	g := &limiter{answers: []commands.Permit{closed}}
	p, s = newPaced(g, done)
	p.Chats = chats{}
	if o := p.Send(t.Context(), message()); o.State != domain.DeliveryDone || s.sent != 1 ||
		strings.Join(g.calls, "; ") != "resume chat-demo:1 blocked" {
		t.Errorf("customer has returned: outcome %+v, %d calls, recorded %q", o, s.sent, g.calls)
	}

	p, s = newPaced(&limiter{answers: []commands.Permit{closed}}, done)
	p.Chats = chats{err: errors.New("no connection")}
	if o := p.Send(t.Context(), message()); o.State != domain.DeliveryRetry || !o.Untried || s.sent > 0 {
		t.Errorf("state not readable: outcome %+v, %d calls", o, s.sent)
	}
}

// Without limits, a permit is asked for only if calls are suspended.
func TestPaced_NoLimits_OnlySuspendedAsked(t *testing.T) {
	t.Parallel()
	g := &limiter{}
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

// If the rate limits cannot be read, no call is made.
func TestPaced_LimiterFails_NotCalled(t *testing.T) {
	t.Parallel()
	p, s := newPaced(&limiter{err: errors.New("no connection")}, done)
	if o := p.Send(t.Context(), message()); o.State != domain.DeliveryRetry || !o.Untried || o.After == 0 || s.sent > 0 {
		t.Errorf("outcome %+v, %d calls", o, s.sent)
	}
}

// chats implements Chats: all are blocked, or none.
type chats struct {
	blocked bool
	err     error
}

func (c chats) Blocked(context.Context, domain.StreamID) (bool, error) { return c.blocked, c.err }

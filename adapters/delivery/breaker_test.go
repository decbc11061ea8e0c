package delivery

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// outage is a sender whose calls or probes can be left without an answer.
type outage struct {
	mu            sync.Mutex
	calls, probes bool // whether they get no answer
	sent, probed  int
}

func (o *outage) Send(context.Context, commands.Claimed) commands.Outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent++
	if o.calls {
		return commands.Outcome{State: domain.DeliveryUnknown, Unanswered: true, Reason: "EOF"}
	}
	return done
}

func (o *outage) Probe(context.Context, string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.probed++
	if o.probes {
		return errors.New("connection refused")
	}
	return nil
}

func newOutage(calls, probes bool) (*outage, *Paced) {
	o := &outage{calls: calls, probes: probes}
	p, _ := newPaced(&limiter{}, done)
	p.Sender = o
	return o, p
}

// messageTo returns a message to a chat, of which a number of attempts may have arrived.
func messageTo(chat, unsure int) commands.Claimed {
	c := message()
	c.Stream = domain.ChatStream("demo", int64(chat))
	c.OrderingKey, c.Unsure = string(c.Stream), unsure
	return c
}

// During an outage of minutes no delivery makes its second and last attempt.
func TestBreaker_Outage_SecondTryAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, p := newOutage(true, true)
		begun := time.Now()
		due := make([]time.Time, 20)
		unsure, finished := make([]int, 20), make([]bool, 20)
		for left := len(due); left > 0; time.Sleep(50 * time.Millisecond) {
			if time.Since(begun) > 5*time.Minute {
				api.calls, api.probes = false, false
			}
			for i := range due {
				if finished[i] || time.Now().Before(due[i]) {
					continue
				}
				o := p.Send(t.Context(), messageTo(i+1, unsure[i]))
				switch {
				case o.State == domain.DeliveryDone:
					finished[i] = true
					left--
				case o.State == domain.DeliveryUnknown:
					unsure[i]++
					due[i] = time.Now().Add(pauseMin)
				default:
					if !o.Untried || !strings.Contains(o.Reason, "does not answer") {
						t.Fatalf("outcome %+v", o)
					}
					due[i] = time.Now().Add(o.After)
				}
				if unsure[i] > 1 {
					t.Fatalf("delivery %d was attempted twice during the outage", i)
				}
			}
			if time.Since(begun) > 6*time.Minute {
				t.Fatalf("%d deliveries are not sent a minute after the outage", left)
			}
		}
		if api.probed > 60 {
			t.Errorf("%d probes in five minutes", api.probed)
		}
		if state := p.Breaker("demo"); state != "closed" {
			t.Errorf("the breaker is %s", state)
		}
	})
}

// If probes succeed but messages get no answer, one delivery at a time is tried.
func TestBreaker_OnlyMessagesFail_OneTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, p := newOutage(true, false)
		for chat := range 1000 {
			p.Send(t.Context(), messageTo(chat+1, 0))
			time.Sleep(60 * time.Millisecond)
		}
		if api.sent > 12 {
			t.Errorf("%d calls in a minute", api.sent)
		}
		api.calls = false
		time.Sleep(breakMax)
		for chat := range 10 {
			if o := p.Send(t.Context(), messageTo(chat+1, 0)); o.State != domain.DeliveryDone {
				t.Errorf("after the outage: %+v", o)
			}
		}
	})
}

// A chat whose calls fail does not delay other chats, whose calls succeed.
func TestBreaker_OneChatFails_OthersSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, p := newOutage(false, false)
		for round := range 100 {
			api.calls = true
			p.Send(t.Context(), messageTo(1, 0))
			api.calls = false
			if o := p.Send(t.Context(), messageTo(2, 0)); o.State != domain.DeliveryDone {
				t.Fatalf("round %d: %+v", round, o)
			}
			time.Sleep(time.Second)
		}
	})
}

// A new process, which has not seen the outage, probes before it retries an attempt that may have arrived.
func TestBreaker_RetryOfUnsure_ProbedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, p := newOutage(true, true)
		if o := p.Send(t.Context(), messageTo(1, 1)); !o.Untried || api.sent != 0 || api.probed != 1 {
			t.Errorf("outcome %+v, %d calls, %d probes", o, api.sent, api.probed)
		}
		api.calls, api.probes = false, false
		time.Sleep(breakMax)
		if o := p.Send(t.Context(), messageTo(1, 1)); o.State != domain.DeliveryDone {
			t.Errorf("outcome %+v", o)
		}
	})
}

// A trial that gets no permit makes no call, and another delivery can be the trial.
func TestBreaker_TrialWithoutPermit_Released(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, p := newOutage(true, false)
		for chat := range trialAfter {
			p.Send(t.Context(), messageTo(chat+1, 0))
			time.Sleep(breakMax)
		}
		p.Limits.(*limiter).answers = []commands.Permit{{Wait: time.Minute, Chat: true}}
		if o := p.Send(t.Context(), messageTo(8, 0)); !o.Untried {
			t.Errorf("outcome %+v", o)
		}
		api.calls = false
		if o := p.Send(t.Context(), messageTo(9, 0)); o.State != domain.DeliveryDone {
			t.Errorf("outcome %+v", o)
		}
	})
}

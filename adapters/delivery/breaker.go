package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Prober is a Sender that can find out whether the other side answers, without an effect.
type Prober interface {
	Probe(ctx context.Context, bot string) error
}

const (
	// breakMin and breakMax bound the pauses between probes, which double. The first probe
	// follows a failure at once: most failures are a single call's. An outage is noticed to
	// be over within the longest pause.
	breakMin = 500 * time.Millisecond
	breakMax = 30 * time.Second
	// trialAfter is how many failures in a row make the breaker let one delivery through as a
	// trial, although a probe was answered: messages may fail where the probe does not.
	trialAfter = 3
	// probeTimeout bounds a probe, which is answered in some 100 ms.
	probeTimeout = 2 * time.Second
	// duringProbe is the wait of a delivery that another one's probe or trial delays: an answer's time.
	duringProbe = 100 * time.Millisecond
	// answeredLately is how recent an answer makes a probe before a repeat superfluous: less
	// than the shortest pause before the repeat.
	answeredLately = pauseMin / 4
)

// breaker stops the calls of one bot while the Bot API does not answer, so that a delivery's
// second and last attempt is made after an outage and not during it. A probe that is answered
// closes it, and so does any call that is answered.
type breaker struct {
	mu       sync.Mutex
	failures int       // calls and probes in a row that were not answered
	open     bool      // the last one was not
	until    time.Time // when open: no probe before
	trying   bool      // a probe or a trial is under way
	answered time.Time // last
	reason   string    // why the last failure failed
}

// admit returns how long a delivery must wait, or 0 if its call may be made. The caller must
// report the outcome to done, with trial.
func (b *breaker) admit(ctx context.Context, sender Sender, c commands.Claimed) (wait time.Duration, trial bool) {
	prober, ok := sender.(Prober)
	if !ok {
		return 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	repeat := c.Unsure > c.Waived && time.Since(b.answered) > answeredLately
	switch left := time.Until(b.until); {
	case !b.open && !repeat:
		return 0, false
	case b.open && left > 0:
		return left, false
	case b.trying, c.Kind == domain.KindTyping:
		return duringProbe, false
	}
	b.trying = true
	b.mu.Unlock()
	err := probe(ctx, prober, c.Stream.Bot())
	b.mu.Lock()
	b.trying = false
	if err != nil {
		b.fail(err.Error())
		return max(time.Until(b.until), duringProbe), false
	}
	if b.answered = time.Now(); b.failures >= trialAfter {
		b.trying = true
		return 0, true
	}
	b.open = false
	return 0, false
}

func probe(ctx context.Context, prober Prober, bot string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return prober.Probe(ctx, bot)
}

// done learns from a call's outcome. Failures of calls that were made together count once.
func (b *breaker) done(o commands.Outcome, trial bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if trial {
		b.trying = false
	}
	switch {
	case o.Untried: // no call was made
	case o.Unanswered && (trial || !b.open):
		b.fail(o.Reason)
	case !o.Unanswered:
		b.open, b.failures, b.answered = false, 0, time.Now()
	}
}

// fail opens the breaker, for longer with every failure. The first probe comes at once.
func (b *breaker) fail(reason string) {
	b.failures++
	b.open, b.until, b.reason = true, time.Now(), reason
	if b.failures > 1 {
		b.until = b.until.Add(min(breakMin<<min(b.failures-2, 20), breakMax))
	}
}

// state returns closed, open or half-open.
func (b *breaker) state() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return "closed"
	case b.trying:
		return "half-open"
	default:
		return "open"
	}
}

// says returns why calls are stopped.
func (b *breaker) says() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reason == "" {
		return "no call was made: waiting for an answer of the Bot API"
	}
	return "no call was made, because the Bot API does not answer: " + b.reason
}

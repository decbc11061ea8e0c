package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Prober is a Sender that can check, by a call without effect, whether the other system answers.
type Prober interface {
	Probe(ctx context.Context, bot string) error
}

const (
	// breakMin and breakMax bound the pauses between probes, which double. The first probe follows
	// a failure at once, because most failures concern a single call. The end of an outage is noticed
	// within breakMax.
	breakMin = 500 * time.Millisecond
	breakMax = 30 * time.Second
	// trialAfter is the number of failures in a row after which a successful probe does not close the
	// breaker but allows one delivery as a trial: messages may fail although probes succeed.
	trialAfter = 3
	// probeTimeout bounds a probe, which is answered in some 100 ms.
	probeTimeout = 2 * time.Second
	// duringProbe is how long a delivery waits for a probe or trial in progress: about one call.
	duringProbe = 100 * time.Millisecond
	// recentAnswer is the age of the last answer below which a possible duplicate is sent without a
	// probe. It is less than the shortest backoff, so that the answer is newer than the failure.
	recentAnswer = pauseMin / 4
)

// breaker is the circuit breaker of one bot. It stops calls while the Bot API does not answer, so that
// a delivery's second and last attempt is made after an outage and not during it. Any answer, to a probe
// or to a call, closes it.
type breaker struct {
	mu       sync.Mutex
	failures int       // calls and probes in a row that were not answered
	open     bool      // the last one was not answered
	until    time.Time // when open: the time of the next probe
	trying   bool      // a probe or a trial is in progress
	answered time.Time // time of the last answer
	reason   string    // of the last failure
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
	repeat := c.Unsure > c.Waived && time.Since(b.answered) > recentAnswer
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

// done updates the breaker with the outcome of a call. Failures of calls that were made at the same time
// count once.
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

// fail opens the breaker, for longer with every failure. The first probe follows at once.
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

// says returns the reason why no call is made.
func (b *breaker) says() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reason == "" {
		return "no call was made: waiting for an answer of the Bot API"
	}
	return "no call was made, because the Bot API does not answer: " + b.reason
}

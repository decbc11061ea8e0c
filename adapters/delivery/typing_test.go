package delivery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// slow is a sender whose attempts take a while.
type slow struct {
	failer
	takes time.Duration
}

func (s *slow) Send(context.Context, commands.Claimed) commands.Outcome {
	time.Sleep(s.takes)
	return done
}

// Typing is shown, and shown again, while a customer waits.
func TestTyping_CustomerWaits_Renewed(t *testing.T) {
	for name, c := range map[string]struct {
		takes, shows time.Duration // duration of the attempt, and of a call that shows typing
		want         []time.Duration
	}{
		"a quick answer":      {299 * time.Millisecond, 0, nil},
		"an answer after 1 s": {time.Second, 0, []time.Duration{300 * time.Millisecond}},
		"a slow answer": {9 * time.Second, 0,
			[]time.Duration{300 * time.Millisecond, 4300 * time.Millisecond, 8300 * time.Millisecond}},
		"Telegram without answer": {500 * time.Millisecond, time.Hour, []time.Duration{300 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				var shown []time.Duration
				typing := &Typing{Asker: &slow{takes: c.takes},
					Indicator: indicatorFunc(func(ctx context.Context, stream domain.StreamID) {
						shown = append(shown, time.Since(begun))
						select {
						case <-time.After(c.shows):
						case <-ctx.Done():
						}
						if stream != "chat-demo:1" {
							t.Errorf("shown in %s", stream)
						}
					})}
				if o := typing.Send(t.Context(), message()); o.State != domain.DeliveryDone || time.Since(begun) != c.takes {
					t.Errorf("outcome %+v after %s", o, time.Since(begun))
				}
				typing.Wait()
				if time.Since(begun) > c.takes+typingEvery {
					t.Errorf("Wait returned after %s", time.Since(begun))
				}
				if len(shown) != len(c.want) {
					t.Fatalf("shown at %v, want %v", shown, c.want)
				}
				for i := range shown {
					if shown[i] != c.want[i] {
						t.Errorf("shown at %v, want %v", shown, c.want)
					}
				}
			})
		})
	}
}

// Typing returns the wrapped sender's command for a failure.
func TestTyping_Fail_WrappedSendersCommand(t *testing.T) {
	t.Parallel()
	var sender Sender = &Typing{Asker: &slow{}}
	failer, ok := sender.(Failer)
	if !ok {
		t.Fatal("Typing is not a Failer")
	}
	if _, ok := failer.Fail(message(), "down").(chat.RecordTool); !ok {
		t.Error("not the command of the wrapped sender")
	}
}

// indicatorFunc is an Indicator made of a function.
type indicatorFunc func(context.Context, domain.StreamID)

func (f indicatorFunc) ShowTyping(ctx context.Context, stream domain.StreamID) { f(ctx, stream) }

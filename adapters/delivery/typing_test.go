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

// slow is an effect that takes its time.
type slow struct {
	failer
	takes time.Duration
}

func (s *slow) Send(context.Context, commands.Claimed) commands.Outcome {
	time.Sleep(s.takes)
	return done
}

// Typing is shown and renewed while a customer waits.
func TestTyping_CustomerWaits_Renewed(t *testing.T) {
	for name, c := range map[string]struct {
		takes, shows time.Duration // the effect, and one showing
		want         []time.Duration
	}{
		"a quick answer":            {299 * time.Millisecond, 0, nil},
		"an answer that takes":      {time.Second, 0, []time.Duration{300 * time.Millisecond}},
		"a slow answer":             {9 * time.Second, 0, []time.Duration{300 * time.Millisecond, 4300 * time.Millisecond, 8300 * time.Millisecond}},
		"a Telegram that is silent": {500 * time.Millisecond, time.Hour, []time.Duration{300 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				var shown []time.Duration
				typing := &Typing{Asker: &slow{takes: c.takes}, Indicator: indicatorFunc(func(ctx context.Context, stream domain.StreamID) {
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
					t.Errorf("something is shown until %s", time.Since(begun))
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

// What is recorded of a failure is the wrapped effect's to say.
func TestTyping_Failure_Ignored(t *testing.T) {
	t.Parallel()
	var sender Sender = &Typing{Asker: &slow{}}
	failer, ok := sender.(Failer)
	if !ok {
		t.Fatal("it hides that the effect says what a failure means")
	}
	if _, ok := failer.Fail(message(), "down").(chat.RecordTool); !ok {
		t.Error("it says something else")
	}
}

// indicatorFunc is an Indicator made of a function.
type indicatorFunc func(context.Context, domain.StreamID)

func (f indicatorFunc) ShowTyping(ctx context.Context, stream domain.StreamID) { f(ctx, stream) }

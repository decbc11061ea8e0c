package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

const (
	// typingAfter is how long a customer waits before typing is shown. Most answers are sent sooner.
	typingAfter = 300 * time.Millisecond
	// typingEvery is the time after which typing is shown again: Telegram shows it for at most 5 s.
	typingEvery = 4 * time.Second
)

// Typing wraps the sender of deliveries that a customer waits for, and shows typing in the chat until
// Send returns. It never delays an attempt.
type Typing struct {
	Asker
	Indicator Indicator
	shown     sync.WaitGroup
}

// Indicator shows in a chat that an answer is being written. It returns when its context ends.
type Indicator interface {
	ShowTyping(context.Context, domain.StreamID)
}

// Asker is the sender of deliveries on which the answer to a customer depends.
type Asker interface {
	Sender
	Failer
}

// Send makes one attempt.
func (t *Typing) Send(ctx context.Context, c commands.Claimed) commands.Outcome {
	done := make(chan struct{})
	defer close(done)
	t.shown.Go(func() { t.show(context.WithoutCancel(ctx), c.Stream, done) })
	return t.Asker.Send(ctx, c)
}

func (t *Typing) show(ctx context.Context, stream domain.StreamID, done <-chan struct{}) {
	for pause := typingAfter; ; pause = typingEvery {
		select {
		case <-done:
			return
		case <-time.After(pause):
		}
		ctx, cancel := context.WithTimeout(ctx, typingEvery)
		t.Indicator.ShowTyping(ctx, stream)
		cancel()
	}
}

// Wait returns when no call of the Indicator is in progress.
func (t *Typing) Wait() { t.shown.Wait() }
